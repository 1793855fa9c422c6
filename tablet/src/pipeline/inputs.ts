/** What networks take from a clip: which of its frames and flows, in which shape and scale (pipelines/inputs.py). */

import type { InputSettings } from "./bundle";
import { unitFlow } from "./flow";
import { type ClipSpec, numFlows } from "./schema";
import type { Picture } from "./vision";

/** A window of a video, as networks see it: T + 1 upright masked frames, T fields of flow codes. */
export interface Clip {
  startSeconds: number;
  rgb: Picture[];
  flow: Uint8Array[];
}

/** `count` indices spread evenly over range(over), first and last included; the middle one for one. */
export function spread(count: number, over: number): number[] {
  if (count === 1) return [Math.floor(over / 2)];
  return Array.from({ length: count }, (_, n) => Math.floor((n * (over - 1)) / (count - 1)));
}

/** Which frames of a window of `length` flows make an input of pictures. */
export function frameIndices(name: string, length: number, settings: InputSettings): number[] {
  if (name === "image") return [Math.floor(length / 2)];
  const chosen = spread(settings.num_frames, length + 1);
  if (name !== "slow") return chosen;
  const count = Math.max(1, Math.floor(settings.num_frames / settings.slow_every));
  return spread(count, chosen.length).map((place) => chosen[place]);
}

/** First frame and number of flows of the middle window that the network sees. */
export function windowOf(spec: ClipSpec, settings: InputSettings): { start: number; length: number } {
  const length = settings.num_flows ?? numFlows(spec);
  return { start: Math.floor((numFlows(spec) - length) / 2), length };
}

/** A clip's middle window as the network takes it, by name. */
export function clipInputs(
  clip: Clip,
  names: readonly string[],
  spec: ClipSpec,
  settings: InputSettings,
): Record<string, Float32Array> {
  const { start, length } = windowOf(spec, settings);
  const inputs: Record<string, Float32Array> = {};
  for (const name of names)
    inputs[name] =
      name === "flow"
        ? flowStack(clip.flow.slice(start, start + length), spec.size)
        : pictures(
            frameIndices(name, length, settings).map((index) => clip.rgb[start + index]),
            settings,
          );
  return inputs;
}

/** RGB (0..1 - mean) / std, one picture after the other. */
function pictures(frames: readonly Picture[], settings: InputSettings): Float32Array {
  const [mean, std] = [Math.fround(settings.mean), Math.fround(settings.std)];
  const table = Float32Array.from({ length: 256 }, (_, byte) =>
    Math.fround(Math.fround(Math.fround(byte / 255) - mean) / std),
  );
  const each = frames[0].data.length;
  const out = new Float32Array(each * frames.length);
  frames.forEach((frame, n) => {
    for (let i = 0; i < each; i++) out[n * each + i] = table[frame.data[i]];
  });
  return out;
}

/** (S, S, 2 T): x0, y0, x1, y1, ... in -1..1. */
function flowStack(fields: readonly Uint8Array[], size: number): Float32Array {
  const table = Float32Array.from({ length: 256 }, (_, code) => unitFlow(code));
  const channels = 2 * fields.length;
  const out = new Float32Array(size * size * channels);
  fields.forEach((field, t) => {
    for (let i = 0; i < size * size; i++) {
      out[i * channels + 2 * t] = table[field[2 * i]];
      out[i * channels + 2 * t + 1] = table[field[2 * i + 1]];
    }
  });
  return out;
}
