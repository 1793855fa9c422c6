/** Upright RGB pictures from a decoder's luma and colour planes (pipelines/video_pixels.py, FFmpeg's swscale). */

import { scaledRgb } from "./scaling";
import { roundHalfEven } from "./schema";
import type { Picture } from "./vision";

/** Pictures with at least so many lines that do not name their colours are BT.709, smaller ones BT.601. */
const HD_LINES = 720;

/** 8-bit values, `stride` bytes a row, `step` bytes from one to the next. */
export interface Plane {
  data: Uint8Array;
  offset: number;
  stride: number;
  step: number;
  width: number;
  height: number;
}

/** Where a colour lies among the two values of luma that share it, across: on the left one, or between both. */
export type Siting = "left" | "middle";

/** Luma with two planes of colour of half the width and height. */
export interface Planes {
  y: Plane;
  u: Plane;
  v: Plane;
  /** As the file names it; null where it does not. */
  matrix: string | null;
  siting: Siting;
  fullRange: boolean;
}

export interface Size {
  width: number;
  height: number;
}

/** Width and height with the long side at most `longSidePx`, both even. */
export function workingSize(width: number, height: number, longSidePx: number): Size {
  const scale = Math.min(1, longSidePx / Math.max(width, height));
  const even = (side: number) => Math.max(2, roundHalfEven((side * scale) / 2) * 2);
  return { width: even(width), height: even(height) };
}

/** Red of V, blue of U, green of U and of V, in 1/65536, of limited range. */
const WEIGHTS = {
  bt601: [104597, 132201, 25675, 53279],
  bt709: [117489, 138438, 13975, 34925],
  bt2020: [110013, 140363, 12277, 42626],
};

function weightsOf(planes: Planes): number[] {
  if (planes.matrix === "bt709") return WEIGHTS.bt709;
  if (planes.matrix?.startsWith("bt2020")) return WEIGHTS.bt2020;
  if (planes.matrix === "smpte170m" || planes.matrix === "bt470bg") return WEIGHTS.bt601;
  return planes.y.height >= HD_LINES ? WEIGHTS.bt709 : WEIGHTS.bt601;
}

/** The planes as RGB of a size. */
export function toRgb(planes: Planes, { width, height }: Size): Picture {
  if (planes.y.width !== width || planes.y.height !== height)
    return { width, height, channels: 3, data: scaledRgb(planes, { width, height }, weightsOf(planes)) };
  const across = Math.ceil(width / 2);
  const [luma, cu, cv] = [planes.y, planes.u, planes.v].map(eighths);
  const full = planes.fullRange;
  const inner = (weight: number) => ((full ? Math.trunc((weight * 224) / 255) : weight) * 8192 + 32768) >> 16;
  const [rv, bu, gu, gv] = weightsOf(planes).map(inner);
  const gain = ((full ? 65536 : Math.trunc((65536 * 255) / 219)) * 8192 + 32768) >> 16;
  const black = full ? 0 : 128;
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, i = 0, o = 0; y < height; y++) {
    const row = (y >> 1) * across;
    for (let x = 0; x < width; x++, i++, o += 3) {
      const c = row + (x >> 1);
      const [u, v] = [cu[c] - 1024, cv[c] - 1024];
      const level = ((luma[i] - black) * gain) >> 16;
      data[o] = level + ((v * rv) >> 16);
      data[o + 1] = level + ((u * -gu) >> 16) + ((v * -gv) >> 16);
      data[o + 2] = level + ((u * bu) >> 16);
    }
  }
  return { width, height, channels: 3, data: new Uint8Array(data.buffer) };
}

/** Eighths of a level, as FFmpeg's vector code has them on its way. */
function eighths({ data, offset, stride, step, width, height }: Plane): Int16Array {
  const out = new Int16Array(width * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0, at = offset + y * stride; x < width; x++, at += step) out[i++] = data[at] << 3;
  return out;
}

/** A picture turned clockwise by quarters. */
export function turned(picture: Picture, degrees: number): Picture {
  const quarter = (((degrees / 90) % 4) + 4) % 4;
  if (quarter === 0) return picture;
  const { width, height, data } = picture;
  const [w, h] = quarter === 2 ? [width, height] : [height, width];
  const out = new Uint8Array(data.length);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const [sx, sy] =
        quarter === 1
          ? [y, height - 1 - x]
          : quarter === 2
            ? [width - 1 - x, height - 1 - y]
            : [width - 1 - y, x];
      const [to, from] = [3 * (y * w + x), 3 * (sy * width + sx)];
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  return { width: w, height: h, channels: 3, data: out };
}

/** A picture with left and right exchanged. */
export function mirrored<T extends Uint8Array | Float32Array>(picture: Picture<T>): Picture<T> {
  const { width, height, channels } = picture;
  const data = picture.data.slice() as T;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++)
        data[(y * width + x) * channels + c] = picture.data[(y * width + width - 1 - x) * channels + c];
  return { ...picture, data };
}

/** RGBA without its A. */
export function withoutAlpha(rgba: Uint8ClampedArray | Uint8Array, { width, height }: Size): Picture {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, o = 0; o < data.length; i += 4, o += 3) {
    data[o] = rgba[i];
    data[o + 1] = rgba[i + 1];
    data[o + 2] = rgba[i + 2];
  }
  return { width, height, channels: 3, data };
}
