/** MediaPipe's two pose networks: where people are, and one person's joints and mask (pipelines/pose_network.py). */

import { anchors, detections, groups, meanPoint, sigmoid } from "./detectors";
import type { Answer, Network } from "./network";
import { mirrored } from "./pixels";
import { JOINTS, TORSO_JOINTS } from "./schema";
import { onGrid, type Point, pixelMatrix, pointInFrame, type Square } from "./squares";
import type { Picture, Vision } from "./vision";

const DETECTOR_CELLS = [
  [28, 2],
  [14, 2],
  [7, 6],
] as const;
/** Side of the square that a person is read in, in lengths of the circle around the body. */
const MARGIN = 1.25;
/** Below this mean score of shoulders and hips, what was found is not taken for a body. */
export const MIN_TORSO_SCORE = 0.5;
const POINTS = JOINTS.length + 6;
const HEAT_KERNEL = 7;
const MIN_HEAT = 0.5;

export interface Detection {
  score: number;
  square: Square;
}

/** One person, read in a square of the frame: joints in pixels of the frame. */
export interface Person {
  score: number;
  /** [x, y, visibility] of each joint. */
  joints: [number, number, number][];
  presence: Float32Array;
  /** That a pixel of the upright picture is the person's, 0..1. */
  mask: Picture<Float32Array>;
  square: Square;
  nextSquare: Square;
}

export function torsoScore(person: Person): number {
  return TORSO_JOINTS.reduce((sum, index) => sum + person.joints[index][2], 0) / TORSO_JOINTS.length;
}

/** The four files: detector and reader of the `.task` file, the larger reader, the palm detector if there is one. */
export interface PoseFiles {
  detector: Network;
  reader: Network;
  careful: Network;
  palms: Network | null;
}

export class PoseNetworks {
  private readonly anchorPoints = anchors(DETECTOR_CELLS);

  constructor(
    private readonly files: PoseFiles,
    readonly vision: Vision,
  ) {}

  /** People in a frame that is turned by so many quarters for it; best first. */
  private async detect(frame: Picture, quarterTurns: number, minScore: number): Promise<Detection[]> {
    const { width, height } = frame;
    const whole: Square = {
      centerX: width / 2,
      centerY: height / 2,
      angleDegrees: 90 * quarterTurns,
      sidePx: Math.max(width, height),
    };
    const size = sizeOf(this.files.detector);
    const picture = this.vision.cut(frame, whole, size);
    const answers = await this.files.detector.run(byTable(picture.data, AROUND_ZERO));
    return groups(detections(answers, this.anchorPoints, size, minScore)).map((group) => {
      const [hips, top] = [2, 3].map((place) => {
        const [x, y] = meanPoint(group, place);
        return pointInFrame(whole, [x * size, y * size], size);
      });
      return { score: group[0].score, square: squareAround(hips, top) };
    });
  }

  /** People whatever their direction, some of them twice; best first. Their squares are on the grid. */
  async detectAll(frame: Picture, minScore: number): Promise<Detection[]> {
    const found: Detection[] = [];
    for (let turns = 0; turns < 4; turns++) found.push(...(await this.detect(frame, turns, minScore)));
    return found
      .map(({ score, square }) => ({ score, square: onGrid(square) }))
      .sort((a, b) => b.score - a.score);
  }

  read(frame: Picture, square: Square): Promise<Person> {
    return this.readBy(this.files.reader, frame, square);
  }

  /** As `read`, by the larger network. */
  readCarefully(frame: Picture, square: Square): Promise<Person> {
    return this.readBy(this.files.careful, frame, square);
  }

  /** The mask read carefully in a mirror, in pixels of the frame. */
  async mirroredMask(frame: Picture, square: Square): Promise<Picture<Float32Array>> {
    const size = sizeOf(this.files.careful);
    const picture = mirrored(this.vision.cut(frame, square, size));
    const answers = await this.files.careful.run(unit(picture));
    const mask = maskOf(answers, size);
    return this.maskInFrame({ ...mask, data: mirrored(mask).data }, square, frame.width, frame.height);
  }

  /** An upright mask as one of the frame. */
  maskInFrame(
    mask: Picture<Float32Array>,
    square: Square,
    width: number,
    height: number,
  ): Picture<Float32Array> {
    return this.vision.warp(mask, pixelMatrix(square, mask.width), width, height);
  }

  private async readBy(network: Network, frame: Picture, square: Square): Promise<Person> {
    const size = sizeOf(network);
    const answers = await network.run(unit(this.vision.cut(frame, square, size)));
    const points = answers.find((one) => one.values.length === 5 * POINTS)!.values;
    const heat = answers.find((one) => one.shape.length === 3 && one.shape[2] === POINTS)!;
    const score = answers.find((one) => one.values.length === 1)!.values[0];
    const places = Array.from({ length: POINTS }, (_, n): Point => [points[5 * n], points[5 * n + 1]]);
    const placed = refined(places, heat, size).map((point) => pointInFrame(square, point, size));
    return {
      score,
      joints: JOINTS.map((_, n) => [
        Math.fround(placed[n][0]),
        Math.fround(placed[n][1]),
        sigmoid(points[5 * n + 3]),
      ]),
      presence: Float32Array.from(JOINTS, (_, n) => sigmoid(points[5 * n + 4])),
      mask: maskOf(answers, size),
      square,
      nextSquare: onGrid(squareAround(placed[JOINTS.length], placed[JOINTS.length + 1])),
    };
  }
}

export function sizeOf(network: Network): number {
  return network.inputs[0].shape[1];
}

const TO_ONE = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);
const AROUND_ZERO = Float32Array.from({ length: 256 }, (_, byte) => Math.fround(byte / 127.5) - 1);

/** Bytes as 0..1. */
export function unit(picture: Picture): Float32Array {
  return byTable(picture.data, TO_ONE);
}

function byTable(bytes: Uint8Array, table: Float32Array): Float32Array {
  const out = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) out[i] = table[bytes[i]];
  return out;
}

function maskOf(answers: readonly Answer[], size: number): Picture<Float32Array> {
  const answer = answers.find(
    (one) => one.shape.length === 3 && one.shape[0] === size && one.shape[2] === 1,
  )!;
  return { width: size, height: size, channels: 1, data: answer.values.map(sigmoid) };
}

/** Points moved to the middle of the heat around them, where there is some; pixels of the upright picture. */
export function refined(points: readonly Point[], heat: Answer, size: number): Point[] {
  const cells = heat.shape[0];
  const count = heat.shape[2];
  const reach = HEAT_KERNEL >> 1;
  return points.map((point, number) => {
    const [px, py] = point.map((value) => Math.trunc(Math.fround(value * (cells / size))));
    if (px < 0 || py < 0 || px >= cells || py >= cells) return point;
    let [sum, sumX, sumY, most] = [0, 0, 0, 0];
    for (let y = Math.max(0, py - reach); y <= Math.min(cells - 1, py + reach); y++)
      for (let x = Math.max(0, px - reach); x <= Math.min(cells - 1, px + reach); x++) {
        const warmth = sigmoid(heat.values[(y * cells + x) * count + number]);
        sum += warmth;
        sumX += warmth * (x - px);
        sumY += warmth * (y - py);
        most = Math.max(most, warmth);
      }
    if (most < MIN_HEAT) return point;
    return [((px + sumX / sum) * size) / cells, ((py + sumY / sum) * size) / cells];
  });
}

/** The square around a circle given by its centre and its point over the head. */
function squareAround(hips: Point, top: Point): Square {
  const [x, y] = [top[0] - hips[0], top[1] - hips[1]];
  const radius = Math.max(1, Math.hypot(x, y));
  return {
    centerX: hips[0],
    centerY: hips[1],
    angleDegrees: (Math.atan2(x, -y) * 180) / Math.PI,
    sidePx: 2 * MARGIN * radius,
  };
}
