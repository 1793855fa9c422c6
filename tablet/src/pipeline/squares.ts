/** Turned squares in a frame (pipelines/squares.py). */

import { roundHalfEven } from "./schema";

export interface Square {
  /** Centre, pixels of the frame. */
  centerX: number;
  centerY: number;
  /** From head to feet, from straight down towards the frame's left. */
  angleDegrees: number;
  /** Side, pixels of the frame. */
  sidePx: number;
}

/** Steps of `onGrid`: of sides, of centres, of angles. */
const SIDES_PER_DOUBLING = 64;
const CENTERS_PER_SIDE = 256;
const GRID_DEGREES = 0.5;
/** Of a place between pixels: as OpenCV's table of weights takes it, and as it is computed. */
const PART_BITS = 5;
const PLACE_BITS = 10;
const MOST_PLACE = 2 ** 29;

/** Row by row: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5. */
export type Matrix = readonly [number, number, number, number, number, number];

export type Point = readonly [number, number];

/** A point of the frame to a point of the upright picture of `size` pixels a side. */
export function matrixOf(square: Square, size: number): Matrix {
  const scale = size / square.sidePx;
  const angle = (square.angleDegrees * Math.PI) / 180;
  const cos = scale * Math.cos(angle);
  const sin = scale * Math.sin(angle);
  return [
    cos,
    sin,
    size / 2 - (cos * square.centerX + sin * square.centerY),
    -sin,
    cos,
    size / 2 - (-sin * square.centerX + cos * square.centerY),
  ];
}

/** A matrix for points that count from pixel corners as one for pictures, which count from pixel centres. */
export function fromPixelCenters(m: Matrix): Matrix {
  return [m[0], m[1], m[2] + 0.5 * (m[0] + m[1]) - 0.5, m[3], m[4], m[5] + 0.5 * (m[3] + m[4]) - 0.5];
}

export function pixelMatrix(square: Square, size: number): Matrix {
  return fromPixelCenters(matrixOf(square, size));
}

export function applyMatrix(m: Matrix, [x, y]: Point): Point {
  return [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]];
}

export function invertMatrix(m: Matrix): Matrix {
  const det = m[0] * m[4] - m[1] * m[3];
  const [a, b, c, d] = [m[4] / det, -m[1] / det, -m[3] / det, m[0] / det];
  return [a, b, -(a * m[2] + b * m[5]), c, d, -(c * m[2] + d * m[5])];
}

/** `first` and then `second`. */
export function followedBy(first: Matrix, second: Matrix): Matrix {
  const [a, b, c, d, e, f] = first;
  const [g, h, i, j, k, l] = second;
  return [g * a + h * d, g * b + h * e, g * c + h * f + i, j * a + k * d, j * b + k * e, j * c + k * f + l];
}

/** A point of the upright picture to the frame. */
export function pointInFrame(square: Square, point: Point, size: number): Point {
  const m = matrixOf(square, size);
  const det = m[0] * m[4] - m[1] * m[3];
  const [x, y] = [point[0] - m[2], point[1] - m[5]];
  return [(m[4] * x - m[1] * y) / det, (m[0] * y - m[3] * x) / det];
}

/** The nearest of the squares whose numbers are a hundredth apart: rounding elsewhere becomes the same one. */
export function onGrid(square: Square): Square {
  const side = 2 ** (roundHalfEven(SIDES_PER_DOUBLING * Math.log2(square.sidePx)) / SIDES_PER_DOUBLING);
  const step = side / CENTERS_PER_SIDE;
  return {
    centerX: roundHalfEven(square.centerX / step) * step,
    centerY: roundHalfEven(square.centerY / step) * step,
    angleDegrees: roundHalfEven(square.angleDegrees / GRID_DEGREES) * GRID_DEGREES,
    sidePx: side,
  };
}

/** Where in the frame an upright picture's pixels lie, as OpenCV's `remap` takes it, in whole numbers. */
export interface Places {
  /** x and y of each, from pixel centres. */
  pixels: Int16Array;
  /** Place in the table of weights. */
  parts: Uint16Array;
}

export function placesOf(square: Square, size: number): Places {
  const scale = square.sidePx / size;
  const angle = (square.angleDegrees * Math.PI) / 180;
  const cos = scale * Math.cos(angle);
  const sin = scale * Math.sin(angle);
  const shares = (place: (fromCenter: number) => number) =>
    Int32Array.from({ length: size }, (_, n) =>
      clipped(roundHalfEven(place(n + 0.5 - size / 2) * 2 ** PLACE_BITS), -MOST_PLACE, MOST_PLACE),
    );
  // Places are a column's share plus a row's, each rounded.
  const columns = [shares((u) => cos * u), shares((u) => sin * u)];
  const rows = [shares((v) => square.centerX - 0.5 - sin * v), shares((v) => square.centerY - 0.5 + cos * v)];
  const pixels = new Int16Array(2 * size * size);
  const parts = new Uint16Array(size * size);
  const shift = PLACE_BITS - PART_BITS;
  const half = 1 << (shift - 1);
  const last = (1 << PART_BITS) - 1;
  for (let row = 0, n = 0; row < size; row++)
    for (let column = 0; column < size; column++, n++) {
      const x = (columns[0][column] + rows[0][row] + half) >> shift;
      const y = (columns[1][column] + rows[1][row] + half) >> shift;
      pixels[2 * n] = clipped(x >> PART_BITS, -32768, 32767);
      pixels[2 * n + 1] = clipped(y >> PART_BITS, -32768, 32767);
      parts[n] = ((y & last) << PART_BITS) + (x & last);
    }
  return { pixels, parts };
}

function clipped(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

/** Whether a body would be read alike in both. */
export function isLike(one: Square, other: Square): boolean {
  const small = Math.min(one.sidePx, other.sidePx);
  const large = Math.max(one.sidePx, other.sidePx);
  const apart = Math.hypot(one.centerX - other.centerX, one.centerY - other.centerY);
  const difference = one.angleDegrees - other.angleDegrees + 180;
  const turned = Math.abs(difference - 360 * Math.floor(difference / 360) - 180);
  return apart < 0.1 * small && large < 1.2 * small && turned < 15;
}

/** Squares without those that nearly repeat an earlier one. */
export function distinct(squares: readonly Square[]): Square[] {
  const kept: Square[] = [];
  for (const square of squares) if (!kept.some((other) => isLike(square, other))) kept.push(square);
  return kept;
}
