/** What can be said of a recording before it is assessed, and whether that is enough (pipelines/quality.py). */

import type { Body } from "./pose";
import { joint, roundHalfEven, TORSO_JOINTS } from "./schema";
import type { Picture, Vision } from "./vision";

const LIMBS = (["elbow", "wrist", "hip", "knee", "ankle"] as const).flatMap((part) => [
  joint(`left_${part}`),
  joint(`right_${part}`),
]);
const MIN_JOINT_SCORE = 0.5;
const SHARPNESS_SIDE = 256;
const BLUR_TAPS = 9;

export const FIGURES = [
  "body",
  "torso",
  "visible",
  "mask_certainty",
  "sharpness",
  "brightness",
  "covered",
  "other_people",
  "hands",
  "camera_speed",
] as const;

/** What is seen in one frame, or on average over several; null where it is not known. */
export type Figures = Record<Exclude<(typeof FIGURES)[number], "camera_speed">, number> & {
  camera_speed: number | null;
};

export interface QualityLimits {
  min_body_share: number;
  min_torso_share: number;
  min_visible: number;
  min_mask_certainty: number;
  min_sharpness: number;
  min_brightness: number;
  max_brightness: number;
  max_covered: number;
  max_camera_speed: number;
}

export const NOBODY: Figures = {
  body: 0,
  torso: 0,
  visible: 0,
  mask_certainty: 0,
  sharpness: 0,
  brightness: 0,
  covered: 0,
  other_people: 0,
  hands: 0,
  camera_speed: null,
};

/** The figures of one frame with a body. */
export function frameFigures(
  vision: Vision,
  frame: Picture,
  body: Body,
  cameraSpeed: number | null,
): Figures {
  const grey = vision.grey(frame);
  let [sum, count] = [0, 0];
  for (let i = 0; i < body.mask.length; i++)
    if (body.mask[i]) {
      sum += grey.data[i];
      count++;
    }
  return {
    body: 1,
    torso: Number(TORSO_JOINTS.every((index) => body.joints[index][2] >= MIN_JOINT_SCORE)),
    visible: Math.min(...LIMBS.map((index) => body.presence[index])),
    mask_certainty: body.certainty,
    sharpness: sharpness(vision, grey, body.mask),
    brightness: count ? sum / count / 255 : 0,
    covered: body.covered,
    other_people: Number(body.people > 0),
    hands: Number(body.hands > 0),
    camera_speed: cameraSpeed,
  };
}

/** Share of the differences between neighbours that a further blur takes away, 0 (blurred) to 1 (sharp). */
export function sharpness(vision: Vision, grey: Picture, mask: Uint8Array): number {
  const part = rectangleAround(grey, mask);
  if (!part) return 0;
  const scale = Math.min(1, SHARPNESS_SIDE / Math.max(part.width, part.height));
  const small = scale < 1 ? vision.shrinkBy(part, scale) : part;
  const picture = { ...small, data: Float32Array.from(small.data) };
  const vertical = lostShare(picture, vision.blur(picture, 1, BLUR_TAPS), 0, 1);
  const horizontal = lostShare(picture, vision.blur(picture, BLUR_TAPS, 1), 1, 0);
  return Math.min(vertical, horizontal);
}

function lostShare(
  sharp: Picture<Float32Array>,
  dull: Picture<Float32Array>,
  dx: number,
  dy: number,
): number {
  const { width, height } = sharp;
  const step = dy * width + dx;
  let [lost, all] = [0, 0];
  for (let y = 0; y < height - dy; y++)
    for (let x = 0; x < width - dx; x++) {
      const i = y * width + x;
      const difference = Math.abs(sharp.data[i + step] - sharp.data[i]);
      lost += Math.max(0, difference - Math.abs(dull.data[i + step] - dull.data[i]));
      all += difference;
    }
  return lost / Math.max(1e-6, all);
}

function rectangleAround(grey: Picture, mask: Uint8Array): Picture | null {
  const { width, height } = grey;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (mask[y * width + x]) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  if (right < 0) return null;
  const [w, h] = [right - left + 1, bottom - top + 1];
  const data = new Uint8Array(w * h);
  for (let y = 0; y < h; y++)
    data.set(grey.data.subarray((top + y) * width + left, (top + y) * width + left + w), y * w);
  return { width: w, height: h, channels: 1, data };
}

/** Means of frames' figures: the first over all frames, the others over those with a body. */
export class Means {
  private readonly sums = new Map<string, number>();
  private readonly counts = new Map<string, number>();

  add(figures: Figures): void {
    for (const name of figures.body ? FIGURES : (["body"] as const)) {
      const value = figures[name];
      if (value === null) continue;
      this.sums.set(name, (this.sums.get(name) ?? 0) + value);
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    }
  }

  figures(): Figures {
    if (!this.sums.get("body")) return NOBODY;
    const means = FIGURES.map((name) => {
      const count = this.counts.get(name);
      return [name, count ? this.sums.get(name)! / count : null];
    });
    return Object.fromEntries(means) as Figures;
  }
}

export function meanFigures(frames: readonly Figures[]): Figures {
  const means = new Means();
  for (const one of frames) means.add(one);
  return means.figures();
}

/** A figure that passes its limit: `code` names the sentence. */
export interface Reason {
  code:
    | "nobody"
    | "body"
    | "torso"
    | "visible"
    | "mask_certainty"
    | "sharpness"
    | "dark"
    | "bright"
    | "covered"
    | "camera_speed";
  value: number;
  limit: number;
}

/** Why something with these figures cannot be assessed; empty if it can. */
export function reasonsAgainst(figures: Figures, limits: QualityLimits): Reason[] {
  if (!figures.body) return [{ code: "nobody", value: 0, limit: 0 }];
  const checks: [Reason["code"], number | null, number, -1 | 1][] = [
    ["body", figures.body, limits.min_body_share, -1],
    ["torso", figures.torso, limits.min_torso_share, -1],
    ["visible", figures.visible, limits.min_visible, -1],
    ["mask_certainty", figures.mask_certainty, limits.min_mask_certainty, -1],
    ["sharpness", figures.sharpness, limits.min_sharpness, -1],
    ["dark", figures.brightness, limits.min_brightness, -1],
    ["bright", figures.brightness, limits.max_brightness, 1],
    ["covered", figures.covered, limits.max_covered, 1],
    ["camera_speed", figures.camera_speed, limits.max_camera_speed, 1],
  ];
  return checks.flatMap(([code, value, limit, sign]) =>
    value !== null && sign * (value - limit) > 0 ? [{ code, value, limit }] : [],
  );
}

/** Figures rounded to four digits, as Python writes them. */
export function roundedFigures(figures: Figures): Figures {
  const rounded = FIGURES.map((name) => {
    const value = figures[name];
    return [name, value === null ? null : roundHalfEven(value * 1e4) / 1e4];
  });
  return Object.fromEntries(rounded) as Figures;
}
