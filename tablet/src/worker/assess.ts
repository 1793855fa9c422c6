/** Runs the bundle on one video (tfgma/inference.py). */

import type { VideoSample } from "mediabunny";
import { mean } from "../pipeline/alignment";
import type { BuildConfig } from "../pipeline/bundle";
import { blurred } from "../pipeline/faces";
import { clipInputs, frameIndices, windowOf } from "../pipeline/inputs";
import type { Network } from "../pipeline/network";
import {
  isWanted,
  type MadeClip,
  type Observed,
  Processor,
  regionsOf,
  type SampledFrame,
} from "../pipeline/process";
import { roundedFigures } from "../pipeline/quality";
import { type Chosen, GridSampler } from "../pipeline/sampling";
import { RefusedError } from "../pipeline/schema";
import { DecodeReport } from "../pipeline/times";
import { verdictOf } from "../pipeline/verdict";
import { Canvas, decodedFrames, openVideo } from "./frames";
import { network } from "./litert";
import type { ClipResult, Reply, Result } from "./messages";
import type { Models } from "./models";
import { soughtFrames } from "./seeking";
import { StageLog } from "./stages";

const PREVIEW_EVERY_MILLISECONDS = 700;
const PREVIEW_SIDE = 480;

type Tell = (reply: Reply) => void;

/** Tells of progress and, at the end, of the result; refuses what cannot be assessed. */
export async function assess(
  models: Models,
  request: { file: Blob; name: string; variant: string; stages: boolean; bySeeking: boolean },
  tell: Tell,
): Promise<void> {
  const begun = performance.now();
  const { bundle, site, vision, finder } = models;
  const { build } = bundle;
  const modelFile = `model_${request.variant}.tflite`;
  const classifier = await network(await models.fetchFile(modelFile), models.threads);
  const log = request.stages ? new StageLog() : null;
  const preview = new Preview(tell);
  const processor = new Processor(build, finder, vision, {
    observed: (one) => {
      log?.observed(one);
      preview.show(one, vision);
    },
    upright: (one) => log?.upright(one),
  });
  const decode = new DecodeReport();
  const clips: ClipResult[] = [];
  const use = async (frame: SampledFrame, total: number) => {
    for (const clip of await processor.add(frame)) clips.push(await answered(clip, classifier, models));
    tell({ kind: "progress", seconds: frame.seconds, total });
  };
  const source = (await canDecode(request)) ? decoded : sought;
  const kind = await source(request.file, build, decode, use, tell);
  for (const clip of processor.finish(decode)) clips.push(await answered(clip, classifier, models));
  const { report } = processor;
  const probabilities = bundle.classes.map((_, n) => mean(clips.map((clip) => clip.probabilities[n])));
  const result: Result = {
    video: request.name,
    bytes: request.file.size,
    at: new Date().toISOString(),
    classes: bundle.classes,
    clipSeconds: build.clip.clip_seconds,
    strideSeconds: build.clip.stride_seconds,
    clips,
    leftOut: report.windows
      .filter((window) => window.reasons.length)
      .map(({ startSeconds, reasons }) => ({ startSeconds, reasons })),
    probabilities,
    predicted: bundle.classes[probabilities.indexOf(Math.max(...probabilities))],
    verdict: verdictOf(probabilities, bundle.classes, bundle.calibration),
    validated: bundle.calibration.fits.length,
    quality: {
      seconds: decode.seconds,
      fps: decode.fps,
      bodyShare: decode.sampled ? report.framesWithBody / decode.sampled : 0,
      clips: report.clips,
      clipsLeftOut: report.clipsLeftOut,
      damagedSeconds: decode.holeSeconds,
      figures: roundedFigures(report.means.figures()),
    },
    model: { name: site.name, variant: request.variant, sha256: site.files[modelFile] },
    site: site.tfgma,
    milliseconds: performance.now() - begun,
  };
  tell({ kind: "result", result, stages: log ? log.stages(report.alignment, clips, kind) : null });
}

type Use = (frame: SampledFrame, total: number) => Promise<void>;

async function canDecode(request: { file: Blob; bySeeking: boolean }): Promise<boolean> {
  if (request.bySeeking) return false;
  try {
    (await openVideo(request.file)).close();
    return true;
  } catch (error) {
    // What WebCodecs lacks the player may have.
    if (error instanceof RefusedError && error.code === "codec") return false;
    throw error;
  }
}

/** Frames by WebCodecs; says how the browser gave them. */
async function decoded(file: Blob, build: BuildConfig, decode: DecodeReport, use: Use): Promise<string> {
  const opened = await openVideo(file);
  const canvas = new Canvas(build.long_side_px, opened.colors);
  const sampler = new GridSampler<VideoSample>(
    build.clip.fps,
    (index) => isWanted(index, build),
    decode,
    (sample) => sample.close(),
  );
  const take = async ({ index, seconds, frame }: Chosen<VideoSample>) =>
    use({ index, seconds, picture: await canvas.paint(frame) }, opened.seconds);
  try {
    for await (const sample of decodedFrames(opened.track)) await sampler.add(sample.timestamp, sample, take);
    await sampler.end(take);
  } finally {
    opened.close();
  }
  if (!decode.frames) throw new RefusedError("badFile");
  return canvas.source;
}

/** Frames by the page's player. */
async function sought(
  _: Blob,
  build: BuildConfig,
  decode: DecodeReport,
  use: Use,
  tell: Tell,
): Promise<string> {
  const wanted = (index: number) => isWanted(index, build);
  for await (const frame of soughtFrames(build.clip.fps, build.long_side_px, wanted, decode, tell))
    await use(frame, frame.total);
  return "player";
}

async function answered(clip: MadeClip, classifier: Network, { bundle }: Models): Promise<ClipResult> {
  const { build, sampling, inputs, output } = bundle;
  const named = clipInputs(clip, Object.keys(inputs), build.clip, sampling);
  const answers = await classifier.run(named);
  const { values } = answers.find((one) => one.name === output) ?? answers[0];
  const { start, length } = windowOf(build.clip, sampling);
  const middle = start + frameIndices("image", length, sampling)[0];
  const picture = blurred(clip.frames[middle].rgb, regionsOf(clip.frames)[middle]);
  return { startSeconds: clip.startSeconds, probabilities: [...values], picture };
}

/** Shows now and then what is found. */
class Preview {
  private last = Number.NEGATIVE_INFINITY;

  constructor(private readonly tell: Tell) {}

  show({ frame, body }: Observed, vision: Models["vision"]): void {
    if (performance.now() - this.last < PREVIEW_EVERY_MILLISECONDS) return;
    this.last = performance.now();
    const { width, height } = frame.picture;
    const scale = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    const mask = body && vision.shrink({ width, height, channels: 1, data: body.mask }, w, h).data;
    const joints = body
      ? body.joints.map(([x, y, s]): [number, number, number] => [x * scale, y * scale, s])
      : [];
    this.tell({ kind: "preview", picture: vision.shrink(frame.picture, w, h), mask, joints });
  }
}
