/** What MediaPipe's single-shot detectors share: their cells, and boxes that repeat (pipelines/detectors.py). */

import type { Answer } from "./network";
import type { Point } from "./squares";

/** Boxes that overlap more (IoU) tell of the same thing. */
const SAME_BOX = 0.3;

/** Middles of a detector's cells as shares of its picture; `cells`: a side, and how many things a cell tells of. */
export function anchors(cells: readonly (readonly [number, number])[]): Point[] {
  const middles: Point[] = [];
  for (const [side, times] of cells)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        for (let n = 0; n < times; n++) middles.push([(x + 0.5) / side, (y + 0.5) / side]);
  return middles;
}

/** What a cell tells of: `points` are the box's centre, its size, then points; shares of the picture. */
export interface Found {
  score: number;
  points: Point[];
}

/** What a detector with these `answers` is at least so sure of, best first. */
export function detections(
  answers: readonly Answer[],
  anchorPoints: readonly Point[],
  size: number,
  minScore: number,
): Found[] {
  const [logits, boxes] = [...answers].sort((a, b) => a.shape.at(-1)! - b.shape.at(-1)!);
  const width = boxes.shape.at(-1)!;
  const found: Found[] = [];
  for (let cell = 0; cell < anchorPoints.length; cell++) {
    const score = sigmoid(logits.values[cell]);
    if (score < minScore) continue;
    const points: Point[] = [];
    for (let k = 0; k < width; k += 2) {
      const [x, y] = [boxes.values[cell * width + k] / size, boxes.values[cell * width + k + 1] / size];
      // All but the box's size count from the cell.
      points.push(k === 2 ? [x, y] : [x + anchorPoints[cell][0], y + anchorPoints[cell][1]]);
    }
    found.push({ score, points });
  }
  return found.sort((a, b) => b.score - a.score);
}

/** Boxes that tell of the same thing; they come best first, each is in one group. */
export function groups(found: readonly Found[]): Found[][] {
  let left = [...found];
  const out: Found[][] = [];
  while (left.length) {
    const best = left[0];
    const same = left.filter((one) => one === best || overlapOfBoxes(one, best) > SAME_BOX);
    out.push(same);
    left = left.filter((one) => !same.includes(one));
  }
  return out;
}

function overlapOfBoxes(one: Found, other: Found): number {
  let shared = 1;
  let [first, second] = [1, 1];
  for (const axis of [0, 1]) {
    const [c, s] = [one.points[0][axis], one.points[1][axis]];
    const [d, t] = [other.points[0][axis], other.points[1][axis]];
    shared *= Math.max(0, Math.min(c + s / 2, d + t / 2) - Math.max(c - s / 2, d - t / 2));
    first *= s;
    second *= t;
  }
  const union = first + second - shared;
  return union > 0 ? shared / union : 0;
}

/** The mean of a group's points at these places, weighted by score. */
export function meanPoint(group: readonly Found[], place: number): Point {
  const total = group.reduce((sum, one) => sum + one.score, 0);
  const mean = (axis: number) =>
    group.reduce((sum, one) => sum + one.score * one.points[place][axis], 0) / total;
  return [mean(0), mean(1)];
}

/** Logit to 0..1, in float32 as Python's. */
export function sigmoid(value: number): number {
  return Math.fround(1 / (1 + Math.exp(-Math.min(50, Math.max(-50, value)))));
}
