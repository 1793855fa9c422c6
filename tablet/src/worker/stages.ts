/** What each stage gave, kept so that a difference from Python names its stage. */

import type { Alignment } from "../pipeline/alignment";
import type { Observed, Upright } from "../pipeline/process";
import type { ClipResult, Stages } from "./messages";

/** Whole pictures of so many frames are kept. */
const PICTURES_EVERY = 30;

export class StageLog {
  private readonly kept: Omit<Stages, "alignment" | "clips" | "source"> = {
    pixels: [],
    frames: [],
    upright: [],
  };

  observed({ frame, body, figures }: Observed): void {
    const { width, height, data } = frame.picture;
    if (frame.index % PICTURES_EVERY === 0)
      this.kept.pixels.push({ index: frame.index, width, height, rgb: base64(data) });
    this.kept.frames.push({
      index: frame.index,
      seconds: frame.seconds,
      mask: body ? base64(packed(body.mask)) : null,
      joints: body?.joints ?? null,
      figures,
    });
  }

  upright({ index, grey, mask, flow }: Upright): void {
    this.kept.upright.push({ index, grey: base64(grey.data), mask: base64(mask.data), flow: base64(flow) });
  }

  stages(alignment: Alignment | null, clips: readonly ClipResult[], source: string): Stages {
    return {
      source,
      ...this.kept,
      alignment,
      clips: clips.map(({ startSeconds, probabilities }) => ({ startSeconds, probabilities })),
    };
  }
}

/** Eight of a mask's pixels a byte, the first one highest, as NumPy's packbits. */
function packed(mask: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(mask.length / 8));
  for (let i = 0; i < mask.length; i++) if (mask[i]) out[i >> 3] |= 128 >> (i & 7);
  return out;
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000)
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
