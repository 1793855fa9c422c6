/** Times of decoded frames, in seconds that only grow (pipelines/video_times.py). */

export const HOLE_SECONDS = 2;
const SILENT_HOLE_SECONDS = 0.25;
const SMALL_STEP_BACK_SECONDS = 0.5;
const MOST_HOLE_SECONDS = 600;
const FRAMES_OF_A_PACE = 10;
const ORDINARY_INTERVAL_SECONDS = 1 / 30;
const KEPT_INTERVALS = 31;

/** What decoding found. */
export class DecodeReport {
  /** From the first frame to the last. */
  seconds = 0;
  frames = 0;
  sampled = 0;
  /** Grid points that got the same frame as the one before. */
  repeated = 0;
  /** Grid points without a frame near them. */
  leftOut = 0;
  outOfOrder = 0;
  clockJumps = 0;
  holes = 0;
  holeSeconds = 0;

  get fps(): number {
    return this.seconds > 0 ? (this.frames - 1) / this.seconds : 0;
  }

  /** Notes an interval that is no ordinary one. */
  interval(seconds: number, usual: number, longest: number): void {
    const missing = seconds - usual;
    if (seconds > HOLE_SECONDS || (missing > SILENT_HOLE_SECONDS && seconds > 4 * longest)) {
      this.holes++;
      this.holeSeconds += missing;
    }
  }
}

/** Gives each frame its seconds from the first one, ever growing; frames whose time has passed are left out. */
export class SteadyTimes<F> {
  private readonly intervals: number[] = [];
  private last = 0;
  private shift = 0;
  private started = false;
  private waiting: { seconds: number; frame: F } | null = null;

  constructor(
    private readonly report: DecodeReport,
    private readonly drop: (frame: F) => void,
  ) {}

  /** Frames that are certain now, in order. */
  next(time: number, frame: F): { seconds: number; frame: F }[] {
    const { report, intervals } = this;
    if (!this.started) {
      this.started = true;
      this.shift = -time;
      return [{ seconds: 0, frame }];
    }
    const out: { seconds: number; frame: F }[] = [];
    const usual = intervals.length ? median(intervals) : ORDINARY_INTERVAL_SECONDS;
    const longest = intervals.length >= FRAMES_OF_A_PACE ? Math.max(...intervals) : HOLE_SECONDS;
    let seconds = time + this.shift;
    if (this.waiting) {
      const held = this.waiting;
      this.waiting = null;
      if (isConfirmed(this.last, held.seconds, seconds)) {
        if (held.seconds <= this.last || held.seconds - this.last > MOST_HOLE_SECONDS) {
          const moved = this.last + usual - held.seconds;
          this.shift += moved;
          held.seconds += moved;
          seconds += moved;
          report.clockJumps++;
        }
        report.interval(held.seconds - this.last, usual, longest);
        this.last = held.seconds;
        out.push(held);
      } else {
        report.outOfOrder++;
        this.drop(held.frame);
      }
    }
    const step = seconds - this.last;
    if (step > HOLE_SECONDS || step < -SMALL_STEP_BACK_SECONDS) this.waiting = { seconds, frame };
    else if (step <= 0) {
      report.outOfOrder++;
      this.drop(frame);
    } else {
      report.interval(step, usual, longest);
      intervals.push(step);
      if (intervals.length > KEPT_INTERVALS) intervals.shift();
      this.last = seconds;
      out.push({ seconds, frame });
    }
    return out;
  }

  /** No frame follows. */
  end(): void {
    if (!this.waiting) return;
    this.report.outOfOrder++;
    this.drop(this.waiting.frame);
    this.waiting = null;
  }
}

/** Whether the frame after one that stepped far stands by it, and not by the one before. */
function isConfirmed(last: number, held: number, following: number): boolean {
  if (held <= last) return held < following && following <= last;
  return following > held && following - held <= Math.max(HOLE_SECONDS, 1.5 * (held - last));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
