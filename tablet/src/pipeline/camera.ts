/** Movement of the camera between two frames, from what lies outside the body (pipelines/camera.py). */

import { roundHalfEven } from "./schema";
import { similarityOf } from "./similarity";
import { applyMatrix, followedBy, fromPixelCenters, invertMatrix, type Matrix, type Point } from "./squares";
import type { Picture, Vision } from "./vision";

const WORKING_SIDE = 320;
const MOST_CORNERS = 200;
const CORNER_QUALITY = 0.01;
const CORNER_DISTANCE = 7;
const BODY_MARGIN = 0.03;
const MOST_RETURN_ERROR = 0.5;
const MOST_RESIDUAL = 0.7;
/** Movements below this are no movement. */
export const STILL_PX = 0.1;
const MIN_CORNERS = 12;
const MIN_AGREEING = 0.4;

/** A frame as `cameraMovement` takes it: 255 off the body; `scale` from the full frame to this. */
export interface View {
  grey: Picture;
  outside: Uint8Array;
  scale: number;
}

export function viewOf(vision: Vision, frame: Picture, body: Uint8Array | null): View {
  const { width, height } = frame;
  const scale = Math.min(1, WORKING_SIDE / Math.max(width, height));
  const [w, h] = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  const grey = vision.grey(vision.shrink(frame, w, h));
  const outside = new Uint8Array(w * h).fill(255);
  if (body) {
    const small = vision.shrink({ width, height, channels: 1, data: body }, w, h);
    const margin = roundHalfEven(BODY_MARGIN * Math.max(w, h));
    const grown = vision.dilateEllipse(small, margin).data;
    for (let i = 0; i < outside.length; i++) if (grown[i]) outside[i] = 0;
  }
  return { grey, outside, scale };
}

/** The similarity that takes what stands still from the first frame to the second; null where that is not known. */
export function cameraMovement(vision: Vision, first: View, second: View): Matrix | null {
  const corners = cornersToFollow(vision, first);
  if (corners.length / 2 < MIN_CORNERS || first.grey.data.length !== second.grey.data.length) return null;
  const there = vision.follow(first.grey, second.grey, corners);
  const back = vision.follow(second.grey, first.grey, there.points);
  const from: Point[] = [];
  const to: Point[] = [];
  for (let n = 0; n < corners.length / 2; n++) {
    const [dx, dy] = [0, 1].map((axis) => Math.abs(back.points[2 * n + axis] - corners[2 * n + axis]));
    if (!there.found[n] || !back.found[n] || Math.max(dx, dy) >= MOST_RETURN_ERROR) continue;
    from.push([corners[2 * n], corners[2 * n + 1]]);
    to.push([there.points[2 * n], there.points[2 * n + 1]]);
  }
  if (from.length < MIN_CORNERS) return null;
  const found = similarityOf(from, to, MOST_RESIDUAL);
  if (!found || found.agreeing < Math.max(MIN_CORNERS, MIN_AGREEING * from.length)) return null;
  const [a, b, tx, c, d, ty] = found.matrix;
  // Points here count from pixel centres, those of the project from corners.
  return [a, b, (tx + 0.5 - 0.5 * (a + b)) / first.scale, c, d, (ty + 0.5 - 0.5 * (c + d)) / first.scale];
}

/** OpenCV's goodFeaturesToTrack, which its build for browsers lacks: x, y, x, y, ..., best first. */
function cornersToFollow(vision: Vision, view: View): Float32Array {
  const { width, height } = view.grey;
  const { values, around } = vision.corners(view.grey);
  let most = 0;
  for (let i = 0; i < values.length; i++) if (view.outside[i] && values[i] > most) most = values[i];
  const least = Math.fround(most * CORNER_QUALITY);
  const highest = around(least);
  const places: number[] = [];
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      const i = y * width + x;
      if (values[i] > least && values[i] === highest[i] && view.outside[i]) places.push(i);
    }
  places.sort((i, j) => values[j] - values[i] || j - i);
  const kept: number[] = [];
  for (const place of places) {
    const [x, y] = [place % width, Math.floor(place / width)];
    let free = true;
    for (let k = 0; k < kept.length && free; k += 2)
      free = (kept[k] - x) ** 2 + (kept[k + 1] - y) ** 2 >= CORNER_DISTANCE ** 2;
    if (free) kept.push(x, y);
    if (kept.length === 2 * MOST_CORNERS) break;
  }
  return Float32Array.from(kept);
}

/** How far a movement takes the frame's corners and middle, root mean square, pixels. */
export function shiftPx(movement: Matrix, width: number, height: number): number {
  const points: Point[] = [
    [0, 0],
    [width, 0],
    [0, height],
    [width, height],
    [width / 2, height / 2],
  ];
  const squares = points.map((point) => {
    const [x, y] = applyMatrix(movement, point);
    return (x - point[0]) ** 2 + (y - point[1]) ** 2;
  });
  return Math.sqrt(squares.reduce((sum, one) => sum + one, 0) / squares.length);
}

/** The second frame as a camera that had not moved would have taken it. */
export function asIfStill(vision: Vision, frame: Picture, movement: Matrix): Picture {
  return vision.warp(frame, fromPixelCenters(movement), frame.width, frame.height);
}

/** A movement of a frame's points as one of the points that `matrix` takes them to. */
export function inSquare(movement: Matrix, matrix: Matrix): Matrix {
  return followedBy(followedBy(invertMatrix(matrix), movement), matrix);
}
