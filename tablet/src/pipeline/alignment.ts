/** One rigid transform a video that sets the body upright in the middle of a square (pipelines/alignment.py). */

import { RefusedError, TORSO_JOINTS } from "./schema";
import { applyMatrix, matrixOf, type Square } from "./squares";
import type { Picture, Vision } from "./vision";

const MIN_JOINT_SCORE = 0.5;
const MIN_TORSO_PX = 8;
const MIN_STEADINESS = 0.5;

/** Where the upright square lies in the frame, and the side of the aligned frame in pixels. */
export interface Alignment extends Square {
  size: number;
}

export type Joints = readonly (readonly [number, number, number])[];

/** A frame or a mask, upright; 0 outside the frame. */
export function setUpright(vision: Vision, picture: Picture, alignment: Alignment): Picture {
  return vision.cut(picture, alignment, alignment.size);
}

/** Joints in pixels of the aligned frame. */
export function alignedJoints(joints: Joints, alignment: Alignment): [number, number, number][] {
  const matrix = matrixOf(alignment, alignment.size);
  return joints.map(([x, y, score]) => {
    const [u, v] = applyMatrix(matrix, [x, y]);
    return [Math.fround(u), Math.fround(v), score];
  });
}

interface Torso {
  points: (readonly [number, number])[];
  spine: [number, number];
  length: number;
}

/** The robust transform of a video from sampled poses: the middle half by torso length is averaged. */
export function estimateAlignment(poses: readonly Joints[], size: number, sideInTorsos: number): Alignment {
  const torsos = poses
    .map((pose) => TORSO_JOINTS.map((index) => pose[index]))
    .filter((four) => four.every((one) => one[2] >= MIN_JOINT_SCORE))
    .map((four): Torso => {
      const points = four.map(([x, y]) => [x, y] as const);
      const between = (a: number, b: number, axis: 0 | 1) => (points[a][axis] + points[b][axis]) / 2;
      const spine: [number, number] = [
        between(2, 3, 0) - between(0, 1, 0),
        between(2, 3, 1) - between(0, 1, 1),
      ];
      return { points, spine, length: Math.hypot(...spine) };
    })
    .filter((torso) => torso.length >= MIN_TORSO_PX)
    .sort((a, b) => a.length - b.length);
  if (!torsos.length) throw new RefusedError("noTorso", { frames: poses.length });
  const quarter = Math.floor(torsos.length / 4);
  const middle = torsos.slice(quarter, torsos.length - quarter);
  const angles = middle.map(({ spine }) => Math.atan2(-spine[0], spine[1]));
  const [sin, cos] = [mean(angles.map(Math.sin)), mean(angles.map(Math.cos))];
  if (Math.hypot(sin, cos) < MIN_STEADINESS)
    throw new RefusedError("turns", { steadiness: Math.hypot(sin, cos).toFixed(2) });
  return {
    centerX: mean(middle.flatMap(({ points }) => points.map((point) => point[0]))),
    centerY: mean(middle.flatMap(({ points }) => points.map((point) => point[1]))),
    angleDegrees: (Math.atan2(sin, cos) * 180) / Math.PI,
    sidePx: sideInTorsos * mean(middle.map(({ length }) => length)),
    size,
  };
}

/** The largest square in the middle of the frame, unturned. */
export function middleSquare(width: number, height: number, size: number): Alignment {
  return { centerX: width / 2, centerY: height / 2, angleDegrees: 0, sidePx: Math.min(width, height), size };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
