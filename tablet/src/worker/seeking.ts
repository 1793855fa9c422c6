/** Frames on the grid by the page's player, where the worker cannot decode. */

import type { SampledFrame } from "../pipeline/process";
import { RefusedError } from "../pipeline/schema";
import type { DecodeReport } from "../pipeline/times";
import type { Reply, Request } from "./messages";

type Sought = Extract<Request, { kind: "sought" }>;
let waiting: ((sought: Sought) => void) | null = null;

/** Takes what the page found. */
export function takeSought(sought: Sought): void {
  waiting?.(sought);
}

/** The pictures at the points of the grid, with the video's length. */
export async function* soughtFrames(
  fps: number,
  longSidePx: number,
  wanted: (index: number) => boolean,
  decode: DecodeReport,
  tell: (reply: Reply) => void,
): AsyncGenerator<SampledFrame & { total: number }> {
  let last = -1;
  for (let index = 0; ; index++) {
    if (!wanted(index)) continue;
    const sought = await new Promise<Sought>((resolve) => {
      waiting = resolve;
      tell({ kind: "seek", seconds: index / fps, longSidePx });
    });
    if (!sought.picture) {
      if (index === 0) throw new RefusedError("badFile");
      return;
    }
    decode.sampled++;
    decode.frames++;
    decode.repeated += Number(sought.seconds === last);
    // Some players tell no time of a picture but that which was asked for.
    const seconds = Math.max(sought.seconds, last + 1e-3);
    last = sought.seconds;
    decode.seconds = seconds;
    yield { index, seconds, picture: sought.picture, total: sought.total };
  }
}
