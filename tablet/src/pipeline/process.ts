/** Turns sampled frames into clips, in one pass and bounded memory (pipelines/process.py). */

import {
  type Alignment,
  alignedJoints,
  estimateAlignment,
  type Joints,
  middleSquare,
  setUpright,
} from "./alignment";
import type { BuildConfig } from "./bundle";
import { asIfStill, cameraMovement, inSquare, STILL_PX, shiftPx, type View, viewOf } from "./camera";
import { blanked, faceRegions } from "./faces";
import { quantizeFlow, ZERO_LEVEL } from "./flow";
import type { Clip } from "./inputs";
import type { Body, BodyFinder } from "./pose";
import {
  type Figures,
  frameFigures,
  Means,
  meanFigures,
  NOBODY,
  type Reason,
  reasonsAgainst,
} from "./quality";
import { JOINTS, numFlows, RefusedError, roundHalfEven, strideFrames } from "./schema";
import { type Matrix, matrixOf } from "./squares";
import type { DecodeReport } from "./times";
import type { Picture, Vision } from "./vision";

/** A larger share of frames that repeat their neighbour means that the video is slower than the clips. */
const MOST_REPEATED = 0.3;

/** One frame on the sampling grid, upright, RGB. */
export interface SampledFrame {
  index: number;
  seconds: number;
  picture: Picture;
}

/** A sampled frame with what was found in it. */
export interface Observed {
  frame: SampledFrame;
  body: Body | null;
  figures: Figures;
  movement: Matrix | null;
}

/** A sampled frame after alignment; `flow` leads here from the frame before. */
export interface Upright {
  index: number;
  seconds: number;
  rgb: Picture;
  grey: Picture;
  mask: Picture;
  pose: Joints;
  found: boolean;
  figures: Figures;
  flow: Uint8Array;
}

/** A clip's figures, and why it was left out; no reasons if it was not. */
export interface Window {
  startSeconds: number;
  figures: Figures;
  reasons: Reason[];
}

export interface ProcessReport {
  framesWithBody: number;
  clips: number;
  clipsLeftOut: number;
  alignment: Alignment | null;
  means: Means;
  windows: Window[];
}

/** A clip with the joints and the masks it was made of, for pictures of it. */
export interface MadeClip extends Clip {
  frames: Upright[];
}

/** Whether the frame at a grid point belongs to any clip. */
export function isWanted(index: number, config: BuildConfig): boolean {
  const [stride, count] = [strideFrames(config.clip), numFlows(config.clip) + 1];
  return stride > count ? index % stride < count : true;
}

function endsClip(index: number, config: BuildConfig): boolean {
  const first = index - numFlows(config.clip);
  return first >= 0 && first % strideFrames(config.clip) === 0;
}

/** Told of each frame that was looked at. */
export interface Watcher {
  observed?(one: Observed): void;
  upright?(one: Upright): void;
}

/** The clips of one video; frames are given in order of time, then `finish` is called. */
export class Processor {
  readonly report: ProcessReport = {
    framesWithBody: 0,
    clips: 0,
    clipsLeftOut: 0,
    alignment: null,
    means: new Means(),
    windows: [],
  };
  private before: { frame: SampledFrame; view: View } | null = null;
  private waiting: Observed[] = [];
  private lastUpright: Upright | null = null;
  private window: Upright[] = [];

  constructor(
    private readonly config: BuildConfig,
    private readonly finder: BodyFinder,
    private readonly vision: Vision,
    private readonly watcher: Watcher = {},
  ) {
    finder.restart();
  }

  /** Clips that this frame completes. */
  async add(frame: SampledFrame): Promise<MadeClip[]> {
    const body = await this.finder.find(frame.picture, frame.seconds);
    this.report.framesWithBody += Number(body !== null);
    const observed = this.observe(frame, body);
    this.watcher.observed?.(observed);
    return this.admit(observed);
  }

  /** The clips that were still waiting; refuses a video that gave none. */
  finish(decode: DecodeReport): MadeClip[] {
    const { report } = this;
    let clips: MadeClip[] = [];
    if (report.framesWithBody === 0) this.leaveOutWaiting();
    else if (this.waiting.length) clips = this.alignWaiting();
    this.refuseFruitless(decode);
    return clips;
  }

  private observe(frame: SampledFrame, body: Body | null): Observed {
    const view = viewOf(this.vision, frame.picture, body?.mask ?? null);
    let movement: Matrix | null = null;
    let speed: number | null = null;
    if (this.before && this.before.frame.index === frame.index - 1) {
      movement = cameraMovement(this.vision, this.before.view, view);
      const passed = frame.seconds - this.before.frame.seconds;
      const { width, height } = frame.picture;
      if (movement && passed > 0) speed = shiftPx(movement, width, height) / Math.max(width, height) / passed;
    }
    const figures = body ? frameFigures(this.vision, frame.picture, body, speed) : NOBODY;
    this.report.means.add(figures);
    this.before = { frame, view };
    return { frame, body, figures, movement };
  }

  private admit(observed: Observed): MadeClip[] {
    const { report, waiting, config } = this;
    if (report.alignment) return this.align(observed, report.alignment);
    waiting.push(observed);
    if (observed.frame.seconds < waiting[0].frame.seconds + config.alignment.seconds) return [];
    if (waiting.some((early) => early.body)) return this.alignWaiting();
    // Nobody yet: these frames can make no clip, so they need not wait for the transform.
    this.leaveOutWaiting();
    return [];
  }

  private leaveOutWaiting(): void {
    this.report.clipsLeftOut += this.waiting.filter((early) =>
      endsClip(early.frame.index, this.config),
    ).length;
    this.waiting = [];
  }

  private alignWaiting(): MadeClip[] {
    const alignment = this.alignmentOf(this.waiting);
    this.report.alignment = alignment;
    const waiting = this.waiting;
    this.waiting = [];
    return waiting.flatMap((early, n) => {
      // A picture is not needed once it is upright.
      delete (waiting as (Observed | undefined)[])[n];
      return this.align(early, alignment);
    });
  }

  private alignmentOf(sampled: readonly Observed[]): Alignment {
    const { clip, alignment, align_body } = this.config;
    const { width, height } = sampled[0].frame.picture;
    if (!align_body) return middleSquare(width, height, clip.size);
    const step = Math.max(1, roundHalfEven(alignment.every_seconds * clip.fps));
    const poses = sampled.flatMap((one) => (one.body ? [one.body.joints] : []));
    return estimateAlignment(
      poses.filter((_, n) => n % step === 0),
      clip.size,
      alignment.side_in_torsos,
    );
  }

  private align(observed: Observed, alignment: Alignment): MadeClip[] {
    const upright = this.uprightOf(observed, alignment);
    this.watcher.upright?.(upright);
    const last = this.lastUpright;
    if (last && upright.index !== last.index + 1) this.window = [];
    this.lastUpright = upright;
    const count = numFlows(this.config.clip) + 1;
    this.window = [...this.window, upright].slice(-count);
    return endsClip(upright.index, this.config) ? this.clip(count) : [];
  }

  private uprightOf({ frame, body, figures, movement }: Observed, alignment: Alignment): Upright {
    const { vision, config } = this;
    const { size, max_flow_px } = config.clip;
    const whole = setUpright(vision, frame.picture, alignment);
    const grey = vision.grey(whole);
    const { width, height } = frame.picture;
    const mask: Picture = body
      ? setUpright(vision, { width, height, channels: 1, data: body.mask.map((one) => 255 * one) }, alignment)
      : { width: size, height: size, channels: 1, data: new Uint8Array(size * size) };
    const last = this.lastUpright;
    let flow: Uint8Array = new Uint8Array(size * size * 2).fill(ZERO_LEVEL);
    if (last && last.index === frame.index - 1) {
      let second = grey;
      if (config.flow.remove_camera && movement) {
        const moved = inSquare(movement, matrixOf(alignment, size));
        if (shiftPx(moved, size, size) > STILL_PX) second = vision.grey(asIfStill(vision, whole, moved));
      }
      flow = quantizeFlow(vision.farneback(last.grey, second).data, max_flow_px);
      // Flow belongs to the pixels of the frame it starts from.
      if (config.flow.masked && config.mask_body)
        for (let i = 0; i < size * size; i++)
          if (last.mask.data[i] < 128) flow[2 * i] = flow[2 * i + 1] = ZERO_LEVEL;
    }
    return {
      index: frame.index,
      seconds: frame.seconds,
      rgb: config.mask_body ? masked(whole, mask) : whole,
      grey,
      mask,
      pose: body ? alignedJoints(body.joints, alignment) : JOINTS.map(() => [0, 0, 0] as const),
      found: body !== null,
      figures,
      flow,
    };
  }

  private clip(count: number): MadeClip[] {
    const { report, window } = this;
    // After a stretch without anybody the window is not full: its first frames were never kept.
    if (window.length < count) {
      report.clipsLeftOut++;
      return [];
    }
    const figures = meanFigures(window.map((frame) => frame.figures));
    const reasons = reasonsAgainst(figures, this.config.quality);
    report.windows.push({ startSeconds: window[0].seconds, figures, reasons });
    if (reasons.length) {
      report.clipsLeftOut++;
      return [];
    }
    report.clips++;
    const frames = window.map((frame) => frame.rgb);
    const regions = this.config.deidentify ? regionsOf(window) : [];
    return [
      {
        startSeconds: window[0].seconds,
        rgb: regions.length ? frames.map((frame, n) => blanked(frame, regions[n])) : frames,
        flow: window.slice(1).map((frame) => frame.flow),
        frames: window,
      },
    ];
  }

  /** Says why a video gave no clip, if it gave none. */
  private refuseFruitless(decode: DecodeReport): void {
    const { report, config } = this;
    if (decode.repeated > MOST_REPEATED * decode.sampled)
      throw new RefusedError("slowVideo", { fps: decode.fps.toFixed(1), needed: config.clip.fps });
    if (report.clips) return;
    if (!report.clipsLeftOut)
      throw new RefusedError("tooShort", {
        seconds: decode.seconds.toFixed(1),
        needed: config.clip.clip_seconds,
      });
    if (!report.framesWithBody) throw new RefusedError("noBody", {});
    // The whole video's figures say it best; where they would do, each clip fails by its own.
    let reasons = reasonsAgainst(report.means.figures(), config.quality);
    if (!reasons.length) reasons = report.windows[0]?.reasons ?? [];
    throw new NotAssessableError(reasons, report);
  }
}

/** A video without a clip that can be assessed, and why. */
export class NotAssessableError extends RefusedError {
  constructor(
    readonly reasons: Reason[],
    readonly report: ProcessReport,
  ) {
    super("notAssessable", {});
  }
}

/** Where the faces of a clip's frames are. */
export function regionsOf(frames: readonly Upright[]): Uint8Array[] {
  return faceRegions(
    frames.map((frame) => frame.pose),
    frames.map((frame) => frame.found),
    frames[0].rgb.width,
  );
}

/** `whole` where the mask is 255, black where it is 0, rounded as OpenCV's multiply. */
function masked(whole: Picture, mask: Picture): Picture {
  const data = new Uint8Array(whole.data.length);
  for (let i = 0; i < mask.data.length; i++) {
    const share = mask.data[i];
    for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round((whole.data[3 * i + c] * share) / 255);
  }
  return { ...whole, data };
}
