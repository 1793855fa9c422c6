/** Decoded frames of a video file, one at a time, by WebCodecs. */

import {
  ALL_FORMATS,
  BlobSource,
  Input,
  type InputVideoTrack,
  type VideoSample,
  VideoSampleSink,
} from "mediabunny";
import { matrixOfAvc } from "../pipeline/colors";
import {
  mirrored,
  type Plane,
  type Planes,
  toRgb,
  turned,
  withoutAlpha,
  workingSize,
} from "../pipeline/pixels";
import { RefusedError } from "../pipeline/schema";
import type { Picture } from "../pipeline/vision";

/** So often a decoder that the system took away is asked for again. */
const MOST_RESTARTS = 20;
const RESTART_MILLISECONDS = 500;

/** What is read before the first frame. */
export interface Opened {
  track: InputVideoTrack;
  seconds: number;
  colors: Colors;
  close(): void;
}

/** What the file tells of its colours: the matrix, where it names one, and where among the luma they lie. */
export type Colors = Pick<Planes, "matrix" | "siting">;

/** Codecs whose colours lie on the left one of two values of luma, unless a file says otherwise, as few do. */
const LEFT_CODECS = ["avc", "hevc"];

/** Opens a file; refuses what is no video that this browser decodes. */
export async function openVideo(file: Blob): Promise<Opened> {
  const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
  let track: InputVideoTrack | null;
  let seconds = 0;
  try {
    track = await input.getPrimaryVideoTrack();
    if (track) seconds = await track.computeDuration();
  } catch {
    input.dispose();
    throw new RefusedError("badFile");
  }
  if (!track) {
    input.dispose();
    throw new RefusedError("noPictures");
  }
  if (!(await track.canDecode())) {
    const codec = track.codec ?? "?";
    input.dispose();
    throw new RefusedError("codec", { codec });
  }
  const siting = LEFT_CODECS.includes(track.codec ?? "") ? "left" : "middle";
  const colors: Colors = { matrix: await namedMatrix(track), siting };
  return { track, seconds, colors, close: () => input.dispose() };
}

/** Of the container, else of an H.264 stream's own header. */
async function namedMatrix(track: InputVideoTrack): Promise<string | null> {
  const { matrix } = await track.getColorSpace();
  if (matrix) return matrix;
  const description = (await track.getDecoderConfig())?.description;
  if (track.codec !== "avc" || !description) return null;
  const bytes = ArrayBuffer.isView(description)
    ? new Uint8Array(description.buffer, description.byteOffset, description.byteLength)
    : new Uint8Array(description);
  return matrixOfAvc(bytes);
}

/** Each frame with its time in the file; the one who takes it closes it. */
export async function* decodedFrames(track: InputVideoTrack): AsyncGenerator<VideoSample> {
  let last = Number.NEGATIVE_INFINITY;
  let isFirst = true;
  for (let restart = 0; ; restart++) {
    const sink = new VideoSampleSink(track);
    try {
      for await (const sample of isFirst ? sink.samples() : sink.samples(last)) {
        if (!isFirst && sample.timestamp <= last) {
          sample.close();
          continue;
        }
        isFirst = false;
        last = sample.timestamp;
        yield sample;
      }
      return;
    } catch (error) {
      // A tablet that sleeps takes its decoders away; what was decoded stays, and it goes on from there.
      if (!isReclaimed(error) || restart >= MOST_RESTARTS) {
        if (isFirst) throw new RefusedError("badFile");
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RESTART_MILLISECONDS));
    }
  }
}

function isReclaimed(error: unknown): boolean {
  return (
    error instanceof DOMException && (error.name === "QuotaExceededError" || error.name === "AbortError")
  );
}

/** Makes frames into upright pictures of one size: that of the first, with the long side at most so long. */
export class Canvas {
  private size: { width: number; height: number } | null = null;
  /** How the browser gave the first frame. */
  source = "";

  constructor(
    private readonly longSidePx: number,
    private readonly colors: Colors,
  ) {}

  async paint(sample: VideoSample): Promise<Picture> {
    const square = { width: sample.squarePixelWidth, height: sample.squarePixelHeight };
    this.size ??= workingSize(square.width, square.height, this.longSidePx);
    const planes = await planesOf(sample, this.colors);
    this.source ||= `${sample.format} ${planes?.matrix} ${planes?.fullRange ? "full" : "limited"}`;
    const picture = planes ? toRgb(planes, this.size) : painted(sample, this.size);
    const upright = turned(picture, sample.rotation);
    return sample.flip ? mirrored(upright) : upright;
  }
}

/** Luma and colour as they were decoded; null of other formats. */
async function planesOf(sample: VideoSample, colors: Colors): Promise<Planes | null> {
  const { format } = sample;
  if (format !== "I420" && format !== "NV12") return null;
  const { width, height } = sample.visibleRect;
  const data = new Uint8Array(sample.allocationSize());
  const layout = await sample.copyTo(data);
  const [across, down] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const plane = (n: number, w: number, h: number, step = 1, shift = 0): Plane => ({
    data,
    offset: layout[n].offset + shift,
    stride: layout[n].stride,
    step,
    width: w,
    height: h,
  });
  const [u, v] =
    format === "I420"
      ? [plane(1, across, down), plane(2, across, down)]
      : [plane(1, across, down, 2), plane(1, across, down, 2, 1)];
  return { y: plane(0, width, height), u, v, ...colors, fullRange: sample.colorSpace.fullRange ?? false };
}

/** By the browser's own conversion, for formats whose planes are not read here. */
function painted(sample: VideoSample, size: { width: number; height: number }): Picture {
  const canvas = new OffscreenCanvas(size.width, size.height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  const frame = sample.toVideoFrame();
  context.drawImage(frame, 0, 0, size.width, size.height);
  frame.close();
  return withoutAlpha(context.getImageData(0, 0, size.width, size.height).data, size);
}
