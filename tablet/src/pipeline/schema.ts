/** Names of joints, and limits that every part of the pipeline shares (pipelines/schema.py). */

export const JOINTS = [
  "nose",
  "left_eye_inner",
  "left_eye",
  "left_eye_outer",
  "right_eye_inner",
  "right_eye",
  "right_eye_outer",
  "left_ear",
  "right_ear",
  "mouth_left",
  "mouth_right",
  "left_shoulder",
  "right_shoulder",
  "left_elbow",
  "right_elbow",
  "left_wrist",
  "right_wrist",
  "left_pinky",
  "right_pinky",
  "left_index",
  "right_index",
  "left_thumb",
  "right_thumb",
  "left_hip",
  "right_hip",
  "left_knee",
  "right_knee",
  "left_ankle",
  "right_ankle",
  "left_heel",
  "right_heel",
  "left_foot_index",
  "right_foot_index",
] as const;

export type JointName = (typeof JOINTS)[number];

/** Index of a joint in every pose array. */
export function joint(name: JointName): number {
  return JOINTS.indexOf(name);
}

export const TORSO_JOINTS = (["left_shoulder", "right_shoulder", "left_hip", "right_hip"] as const).map(
  joint,
);

/** A pixel belongs to the body when the network says so with more than this. */
export const MASK_SCORE = 0.6;

export interface ClipSpec {
  fps: number;
  clip_seconds: number;
  stride_seconds: number;
  size: number;
  max_flow_px: number;
}

/** T: flow fields of a clip; it has one frame more. */
export function numFlows(spec: ClipSpec): number {
  return roundHalfEven(spec.clip_seconds * spec.fps);
}

/** Sampled frames from one window's start to the next one's. */
export function strideFrames(spec: ClipSpec): number {
  return roundHalfEven(spec.stride_seconds * spec.fps);
}

/** As Python's `round` and NumPy's `rint`: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest < 0.5) return down;
  if (rest > 0.5) return down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** Input that cannot be used: `code` names the sentence of the strings file, `values` fill it. */
export class RefusedError extends Error {
  constructor(
    readonly code: string,
    readonly values: Record<string, string | number> = {},
  ) {
    super(`${code} ${JSON.stringify(values)}`);
    this.name = "RefusedError";
  }
}
