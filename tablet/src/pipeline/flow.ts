/** 8-bit codes of flow in pixels (pipelines/flow.py). */

import { roundHalfEven } from "./schema";

/** No movement; 1 and 255 are the largest. */
export const ZERO_LEVEL = 128;
export const LEVELS = 127;

/** Pixels to codes 1..255. */
export function quantizeFlow(flow: Float32Array, maxFlowPx: number): Uint8Array {
  const factor = Math.fround(LEVELS / maxFlowPx);
  const codes = new Uint8Array(flow.length);
  for (let i = 0; i < flow.length; i++) {
    // Clip before quantising: one outlier would flatten the 8-bit range.
    const clipped = Math.min(maxFlowPx, Math.max(-maxFlowPx, flow[i]));
    codes[i] = roundHalfEven(Math.fround(clipped * factor)) + ZERO_LEVEL;
  }
  return codes;
}

/** Codes to -1..1 of the largest flow. */
export function unitFlow(code: number): number {
  return (code - ZERO_LEVEL) * Math.fround(1 / LEVELS);
}
