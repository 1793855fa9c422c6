/** The frames nearest to the points of a grid of times (pipelines/video.py). */

import { type DecodeReport, HOLE_SECONDS, SteadyTimes } from "./times";

/** A frame that is chosen for a grid point. */
export interface Chosen<F> {
  index: number;
  seconds: number;
  frame: F;
}

/** Chooses frames as they come, so that two are held at a time; `drop` is called for each that is done with. */
export class GridSampler<F> {
  private readonly times: SteadyTimes<F>;
  private previous: { seconds: number; frame: F } | null = null;
  private index = 0;

  constructor(
    private readonly fps: number,
    private readonly wanted: (index: number) => boolean,
    private readonly report: DecodeReport,
    private readonly drop: (frame: F) => void,
  ) {
    this.times = new SteadyTimes(report, drop);
  }

  /** What a decoded frame at `time` of the file decides; `use` must be done with a frame when it returns. */
  async add(time: number, frame: F, use: (chosen: Chosen<F>) => Promise<void>): Promise<void> {
    for (const one of this.times.next(time, frame)) await this.pass(one.seconds, one.frame, use);
  }

  private async pass(seconds: number, frame: F, use: (chosen: Chosen<F>) => Promise<void>): Promise<void> {
    const { report, previous } = this;
    report.frames++;
    report.seconds = seconds;
    let first = true;
    for (let target = this.index / this.fps; seconds >= target - 1e-6; target = this.index / this.fps) {
      let chosen = { seconds, frame };
      if (previous && Math.abs(previous.seconds - target) < Math.abs(seconds - target)) chosen = previous;
      if (previous && Math.abs(chosen.seconds - target) > HOLE_SECONDS / 2) {
        const behind = Math.max(this.index + 1, Math.ceil((seconds - HOLE_SECONDS / 2) * this.fps));
        report.leftOut += behind - this.index;
        this.index = behind;
        continue;
      }
      if (!first) report.repeated++;
      first = false;
      await this.emit(chosen.seconds, chosen.frame, use);
      this.index++;
    }
    if (previous) this.drop(previous.frame);
    this.previous = { seconds, frame };
  }

  private async emit(seconds: number, frame: F, use: (chosen: Chosen<F>) => Promise<void>): Promise<void> {
    if (!this.wanted(this.index)) return;
    this.report.sampled++;
    await use({ index: this.index, seconds, frame });
  }

  /** No frame follows: the last one stands until the next would come. */
  async end(use: (chosen: Chosen<F>) => Promise<void>): Promise<void> {
    this.times.end();
    const last = this.previous;
    if (!last) return;
    if (this.index / this.fps <= last.seconds + 0.5 / this.fps)
      await this.emit(last.seconds, last.frame, use);
    this.drop(last.frame);
    this.previous = null;
  }
}
