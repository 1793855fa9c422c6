/** What pages and the worker tell each other. */

import type { Alignment } from "../pipeline/alignment";
import type { Site } from "../pipeline/bundle";
import type { Figures, Reason } from "../pipeline/quality";
import type { Verdict } from "../pipeline/verdict";
import type { Picture } from "../pipeline/vision";

export type Request =
  | {
      kind: "assess";
      base: string;
      file: Blob;
      name: string;
      variant: string;
      stages: boolean;
      /** Whether the browser lacks WebCodecs. */
      bySeeking: boolean;
    }
  | { kind: "sought"; picture: Picture | null; seconds: number; total: number }
  | { kind: "look"; base: string; picture: Picture; seconds: number };

/** One clip that was assessed; `picture`: its middle frame, face smeared. */
export interface ClipResult {
  startSeconds: number;
  probabilities: number[];
  picture: Picture;
}

export interface LeftOut {
  startSeconds: number;
  reasons: Reason[];
}

export interface Quality {
  seconds: number;
  fps: number;
  bodyShare: number;
  clips: number;
  clipsLeftOut: number;
  damagedSeconds: number;
  figures: Figures;
}

export interface Result {
  video: string;
  bytes: number;
  /** When it was assessed, ISO 8601. */
  at: string;
  classes: string[];
  clipSeconds: number;
  strideSeconds: number;
  clips: ClipResult[];
  leftOut: LeftOut[];
  probabilities: number[];
  predicted: string;
  verdict: Verdict;
  /** Validation subjects behind the verdict. */
  validated: number;
  quality: Quality;
  model: { name: string; variant: string; sha256: string };
  site: Site["tfgma"];
  milliseconds: number;
}

/** What the framing guide says of a camera's picture. */
export interface Look {
  found: boolean;
  people: number;
  /** Share of the picture's height or width that the body spans. */
  span: number;
  visible: number;
  brightness: number;
  sharpness: number;
  joints: [number, number, number][];
}

/** What every stage gave, for comparison with Python's. */
export interface Stages {
  /** Pixel format, colours and range as the browser's decoder gave them. */
  source: string;
  pixels: { index: number; width: number; height: number; rgb: string }[];
  frames: {
    index: number;
    seconds: number;
    mask: string | null;
    joints: number[][] | null;
    figures: Figures;
  }[];
  alignment: Alignment | null;
  upright: { index: number; grey: string; mask: string; flow: string }[];
  clips: { startSeconds: number; probabilities: number[] }[];
}

export type Reply =
  | { kind: "ready"; threads: number }
  | { kind: "seek"; seconds: number; longSidePx: number }
  | { kind: "progress"; seconds: number; total: number }
  | { kind: "preview"; picture: Picture; mask: Uint8Array | null; joints: [number, number, number][] }
  | { kind: "result"; result: Result; stages: Stages | null }
  | { kind: "look"; look: Look }
  | {
      kind: "refused";
      code: string;
      values: Record<string, string | number>;
      reasons: Reason[];
      quality: Figures | null;
    };
