/** FFmpeg's scaler (swscale, by areas, to RGB) in whole numbers, so that a scaled picture is Python's to the byte. */

import type { Plane, Planes, Siting, Size } from "./pixels";

/** What each new value takes of the old ones: `count` weights from `first` on. */
interface Taps {
  first: Int32Array;
  count: number;
  weights: Int32Array;
}

/** Sums of weights: across, where values get 7 more bits, and down, where they and these go again. */
const ACROSS = 1 << 14;
const DOWN = 1 << 12;

/** Weights are made for so many values at a time, as FFmpeg's vector code takes them. */
const STEP = { [ACROSS]: 4, [DOWN]: 2 };

/** Of a weight that is 1: what weights at an end may have together and be left out all the same. */
const LEAST_SHARE = 0.002;

const known = new Map<string, Taps>();

/** The taps that make `from` values `to`, whose weights sum to `one`. */
function tapsOf(from: number, to: number, one: typeof ACROSS | typeof DOWN, siting: Siting = "middle"): Taps {
  const key = `${from} ${to} ${one} ${siting}`;
  let taps = known.get(key);
  if (!taps) {
    taps = withBorders(shortened(areas(from, to, siting), one), from, one);
    known.set(key, taps);
  }
  return taps;
}

/** Places and weights before they are rounded; `unit` is a weight of 1. */
interface Exact {
  first: number[];
  weights: bigint[][];
  unit: bigint;
}

/** How much of each old value's area a new one covers; between two old ones where there are more new ones. */
function areas(from: number, to: number, siting: Siting): Exact {
  const stride = Math.floor((from * 65536 + (to >> 1)) / to);
  const fewer = Math.min(8, Math.floor(Math.log2(Math.max(1, Math.floor(from / to)))));
  const unit = 1n << BigInt(54 - fewer);
  if (Math.abs(stride - 65536) < 10 && siting === "middle")
    return { first: [...Array(to).keys()], weights: Array.from({ length: to }, () => [unit]), unit };
  const first: number[] = [];
  const weights: bigint[][] = [];
  const isEnlarged = stride <= 65536;
  const count = isEnlarged ? 2 : Math.max(1, Math.min(1 + Math.ceil(from / to), from - 2));
  for (let n = 0; n < to; n++) {
    // The new value's middle, in 1/2^17 of an old one, from where the first old one lies.
    const middle = stride - (siting === "left" ? 32768 : 65536) + 2 * stride * n;
    const begin = isEnlarged
      ? Math.floor((middle >> 1) / 65536)
      : Math.trunc((middle - (count - 2) * 65536) / 131072);
    first.push(begin);
    weights.push(
      Array.from({ length: count }, (_, k) =>
        isEnlarged
          ? nearness(begin + k, middle >> 1, unit)
          : covered(begin + k, middle, stride, from, to) * (unit >> 46n),
      ),
    );
  }
  return { first, weights, unit };
}

/** A weight that falls to 0 over the way to the next old value; `middle` in 1/2^16. */
function nearness(place: number, middle: number, unit: bigint): bigint {
  const weight = unit - BigInt(Math.abs(place * 65536 - middle)) * (unit >> 16n);
  return weight > 0n ? weight : 0n;
}

/** The covered share of an old value, in 1/2^46. */
function covered(place: number, middle: number, stride: number, from: number, to: number): bigint {
  const distance = (BigInt(Math.abs(place * 131072 - middle)) << 13n) * BigInt(to);
  const beyond = (distance / BigInt(from) - (1n << 29n)) * BigInt(stride);
  const half = 1n << 45n;
  if (beyond < -half) return 1n << 46n;
  return beyond < half ? half - beyond : 0n;
}

/** Without the weights at both ends that hardly count, as far as each new value can do without. */
function shortened({ first, weights, unit }: Exact, one: typeof ACROSS | typeof DOWN): Exact {
  const least = LEAST_SHARE * Number(unit);
  const longest = weights[0].length;
  let needed = 0;
  for (let n = weights.length - 1; n >= 0; n--) {
    const own = weights[n];
    let sum = 0;
    for (let k = 0; k < longest; k++) {
      sum += Number(own[0]);
      if (sum > least || (n < weights.length - 1 && first[n] >= first[n + 1])) break;
      own.push(0n);
      own.shift();
      first[n]++;
    }
    let count = longest;
    sum = 0;
    for (let k = longest - 1; k > 0; k--, count--) {
      sum += Number(own[k]);
      if (sum > least) break;
    }
    needed = Math.max(needed, count);
  }
  const step = needed === 1 && one === DOWN ? 1 : STEP[one];
  const count = Math.ceil(needed / step) * step;
  const kept = weights.map((own) => Array.from({ length: count }, (_, k) => own[k] ?? 0n));
  return { first, weights: kept, unit };
}

/** Whole weights whose roundings are carried on; what lies beyond an end goes to the value there. */
function withBorders({ first, weights }: Exact, from: number, one: number): Taps {
  const count = weights[0].length;
  const whole = new Int32Array(weights.length * count);
  weights.forEach((own, n) => {
    const inside = new Array<bigint>(count).fill(0n);
    const begin = Math.max(0, Math.min(first[n], from - count));
    own.forEach((weight, k) => {
      inside[Math.max(0, Math.min(from - 1, first[n] + k)) - begin] += weight;
    });
    first[n] = begin;
    const total = inside.reduce((sum, weight) => sum + weight, 0n);
    const each = (total + BigInt(one) / 2n) / BigInt(one) || 1n;
    let carried = 0n;
    inside.forEach((weight, k) => {
      const wanted = weight + carried;
      const rounded = wanted >= 0n ? (wanted + (each >> 1n)) / each : -((-wanted + (each >> 1n)) / each);
      whole[n * count + k] = Number(rounded);
      carried = wanted - rounded * each;
    });
  });
  return { first: Int32Array.from(first), count, weights: whole };
}

/** Rows of `width` values of 15 bits. */
function narrowed(
  { data, offset, stride, step, width: from, height }: Plane,
  width: number,
  siting: Siting,
): Int16Array {
  const { first, count, weights } = tapsOf(from, width, ACROSS, siting);
  const out = new Int16Array(width * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0, w = 0; x < width; x++, i++) {
      let at = offset + y * stride + first[x] * step;
      let sum = 0;
      for (let k = 0; k < count; k++, w++, at += step) if (weights[w]) sum += data[at] * weights[w];
      out[i] = Math.min(32767, sum >> 7);
    }
  return out;
}

/** How a row's values of 15 bits become 8: FFmpeg has ways of its own for one row and for two. */
type Way = "one" | "one, two of colour" | "two" | "several";

/** A row of 8-bit values (which may leave their range), from `width` values of 15 bits a row. */
function line(
  values: Int16Array,
  width: number,
  taps: Taps,
  y: number,
  way: Way,
  isColor: boolean,
): Int32Array {
  const out = new Int32Array(width);
  const { count, weights } = taps;
  const at = taps.first[y] * width;
  const [w, second] = [y * count, weights[y * count + 1]];
  if (way === "one" || (way === "one, two of colour" && !(isColor && second))) {
    for (let x = 0; x < width; x++) out[x] = (values[at + x] + 64) >> 7;
  } else if (way === "two" || way === "one, two of colour") {
    const round = way === "two" ? 0 : 1 << 18;
    for (let x = 0; x < width; x++)
      out[x] = (values[at + x] * (DOWN - second) + values[at + width + x] * second + round) >> 19;
  } else {
    out.fill(1 << 18);
    for (let k = 0; k < count; k++) {
      const [weight, from] = [weights[w + k], at + k * width];
      if (weight) for (let x = 0; x < width; x++) out[x] += values[from + x] * weight;
    }
    for (let x = 0; x < width; x++) out[x] >>= 19;
  }
  return out;
}

function wayOf(luma: Taps, color: Taps): Way {
  if (luma.count === 1 && color.count === 1) return "one";
  if (luma.count === 1 && color.count === 2) return "one, two of colour";
  return luma.count === 2 && color.count === 2 ? "two" : "several";
}

/**
 * RGB of a size, from planes of another.
 *
 * @param weights red of V, blue of U, green of U and of V, in 1/65536, of limited range.
 */
export function scaledRgb(planes: Planes, { width, height }: Size, weights: readonly number[]): Uint8Array {
  const { y: luma, u, v, siting, fullRange } = planes;
  const across = Math.ceil(width / 2);
  const ly = narrowed(luma, width, "middle");
  const [lu, lv] = [u, v].map((plane) => narrowed(plane, across, siting));
  const [down, downColor] = [tapsOf(luma.height, height, DOWN), tapsOf(u.height, height, DOWN)];
  const way = wayOf(down, downColor);
  const gain = fullRange ? 65536 : Math.trunc((65536 * 255) / 219);
  // Black, as FFmpeg's table of levels has it.
  const black = fullRange ? 0 : (400 << 16) - 326 * gain;
  const [rv, bu, gu, gv] = weights.map((weight, n) => {
    const own = (n > 1 ? -1 : 1) * (fullRange ? Math.trunc((weight * 224) / 255) : weight);
    return shifts(Math.trunc((own * 65536 + 32768) / gain));
  });
  const out = new Uint8ClampedArray(width * height * 3);
  for (let row = 0, o = 0; row < height; row++) {
    const level = line(ly, width, down, row, way, false);
    const [cu, cv] = [lu, lv].map((values) => line(values, across, downColor, row, way, true));
    for (let x = 0; x < width; x++, o += 3) {
      const [a, b] = [clamped(cu[x >> 1]), clamped(cv[x >> 1])];
      out[o] = ((level[x] + rv[b]) * gain - black + 32768) >> 16;
      out[o + 1] = ((level[x] + gu[a] + gv[b]) * gain - black + 32768) >> 16;
      out[o + 2] = ((level[x] + bu[a]) * gain - black + 32768) >> 16;
    }
  }
  return new Uint8Array(out.buffer);
}

/** For each 8-bit colour, by how many levels of luma it shifts. */
function shifts(weight: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, color) => Math.floor((color * weight) / 65536) - (weight >> 9));
}

function clamped(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
