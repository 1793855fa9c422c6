/** The turn, scale and shift that most pairs of points share (OpenCV's estimateAffinePartial2D, by RANSAC). */

import type { Matrix, Point } from "./squares";

const MOST_TRIALS = 2000;
const CONFIDENCE = 0.99;

export interface Similarity {
  matrix: Matrix;
  agreeing: number;
}

/** Null where no two points give one. `residual`: pairs that are explained to this, px, agree. */
export function similarityOf(
  from: readonly Point[],
  to: readonly Point[],
  residual: number,
): Similarity | null {
  const count = from.length;
  const random = numbers();
  let best: number[] = [];
  let trials = MOST_TRIALS;
  for (let trial = 0; trial < trials; trial++) {
    const first = random() % count;
    let second = random() % count;
    while (second === first) second = random() % count;
    const matrix = throughPoints(from, to, [first, second]);
    if (!matrix) continue;
    const agreeing = explained(from, to, matrix, residual);
    if (agreeing.length > Math.max(best.length, 1)) {
      best = agreeing;
      trials = Math.min(trials, trialsNeeded(1 - best.length / count));
    }
  }
  if (best.length < 2) return null;
  const matrix = throughPoints(from, to, best);
  return matrix && { matrix, agreeing: best.length };
}

/** OpenCV's multiply-with-carry generator, as it starts each search. */
function numbers(): () => number {
  let state = 0xffffffffffffffffn;
  return () => {
    state = (state & 0xffffffffn) * 4164903690n + (state >> 32n);
    return Number(state & 0xffffffffn);
  };
}

function trialsNeeded(outliers: number): number {
  const missed = 1 - (1 - outliers) ** 2;
  if (missed < Number.EPSILON) return 0;
  return Math.ceil(Math.log(1 - CONFIDENCE) / Math.log(missed));
}

function explained(from: readonly Point[], to: readonly Point[], m: Matrix, residual: number): number[] {
  const found: number[] = [];
  for (let n = 0; n < from.length; n++) {
    const [x, y] = from[n];
    const dx = m[0] * x + m[1] * y + m[2] - to[n][0];
    const dy = m[3] * x + m[4] * y + m[5] - to[n][1];
    if (dx * dx + dy * dy <= residual * residual) found.push(n);
  }
  return found;
}

/** The least squares similarity of these pairs. */
function throughPoints(
  from: readonly Point[],
  to: readonly Point[],
  which: readonly number[],
): Matrix | null {
  const count = which.length;
  let [fx, fy, tx, ty] = [0, 0, 0, 0];
  for (const n of which) {
    fx += from[n][0] / count;
    fy += from[n][1] / count;
    tx += to[n][0] / count;
    ty += to[n][1] / count;
  }
  let [along, across, size] = [0, 0, 0];
  for (const n of which) {
    const [x, y, u, v] = [from[n][0] - fx, from[n][1] - fy, to[n][0] - tx, to[n][1] - ty];
    along += x * u + y * v;
    across += x * v - y * u;
    size += x * x + y * y;
  }
  if (size === 0) return null;
  const [a, b] = [along / size, across / size];
  return [a, -b, tx - (a * fx - b * fy), b, a, ty - (b * fx + a * fy)];
}
