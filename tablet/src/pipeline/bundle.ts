/** What bundle.json says, as far as the app uses it, and what the site adds to it. */

import type { QualityLimits } from "./quality";
import { type ClipSpec, RefusedError } from "./schema";

export interface InputSettings {
  num_flows: number | null;
  num_frames: number;
  slow_every: number;
  mean: number;
  std: number;
  pose_frames: number;
  pose_stride: number;
}

export interface Calibration {
  temperature: number;
  fitted: boolean;
  fits: number[];
  coverage: number;
}

export interface BuildConfig {
  clip: ClipSpec;
  pose: { method: string; careful: boolean; min_score: number };
  segmentation: { method: string };
  alignment: { seconds: number; every_seconds: number; side_in_torsos: number };
  flow: { method: string; masked: boolean; remove_camera: boolean };
  quality: QualityLimits;
  mask_body: boolean;
  align_body: boolean;
  deidentify: boolean;
  long_side_px: number;
}

export interface Bundle {
  bundle_version: number;
  classes: string[];
  sampling: InputSettings;
  build: BuildConfig;
  inputs: Record<string, { shape: number[]; meaning: string }>;
  output: string;
  files: Record<string, string>;
  calibration: Calibration;
  notice: string;
}

/** site.json: what the site holds; `tfgma` writes it beside bundle.json. */
export interface Site {
  format: number;
  name: string;
  variants: string[];
  pose: { detector: string; reader: string; careful: string | null; palms: string | null };
  files: Record<string, string>;
  tfgma: string;
}

export const BUNDLE_VERSION = 4;
const TAKEN = ["image", "frames", "slow", "fast", "flow"];

/** Refuses a bundle that this app cannot answer as Python does. */
export function checkBundle(bundle: Bundle): void {
  const { build } = bundle;
  if (bundle.bundle_version !== BUNDLE_VERSION)
    throw new RefusedError("bundleVersion", { version: bundle.bundle_version });
  const wrong = [
    build.pose.method !== "mediapipe" && `pose ${build.pose.method}`,
    build.segmentation.method !== "mediapipe" && `segmentation ${build.segmentation.method}`,
    build.flow.method !== "farneback" && `flow ${build.flow.method}`,
    ...Object.keys(bundle.inputs).map((name) => !TAKEN.includes(name) && `input ${name}`),
  ].filter((one) => typeof one === "string");
  if (wrong.length) throw new RefusedError("bundleUnsupported", { what: wrong.join(", ") });
}
