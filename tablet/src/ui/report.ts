/** A result as a file, with the words that `tfgma predict --json` uses. */

import type { Reason } from "../pipeline/quality";
import { UNCERTAIN } from "../pipeline/verdict";
import { say } from "../strings";
import type { Key } from "../strings/en";
import type { Result } from "../worker/messages";

const DIGITS = 1e6;

function named(classes: readonly string[], values: readonly number[]): Record<string, number> {
  return Object.fromEntries(classes.map((name, n) => [name, Math.round(values[n] * DIGITS) / DIGITS]));
}

/** Why there is no verdict, in words. */
export function reasonText(result: Result): string {
  const { reason, possible } = result.verdict;
  if (reason === "few") return say("reasonFew", { validated: result.validated });
  if (reason === "several") return say("reasonSeveral", { names: possible.join(", ") });
  return reason === "none" ? say("reasonNone") : "";
}

/** Why a clip or a video cannot be assessed, in words. */
export function why(reason: Reason): string {
  const percent = (value: number) => Math.round(1000 * value) / 10;
  return say(`why_${reason.code}` as Key, { value: percent(reason.value), limit: percent(reason.limit) });
}

export function asJson(result: Result): string {
  const { classes, verdict, quality } = result;
  const content = {
    video: result.video,
    assessed_at: result.at,
    verdict: verdict.answer,
    reason: verdict.answer === UNCERTAIN ? reasonText(result) : "",
    possible: verdict.possible,
    calibrated_probabilities: named(classes, verdict.probabilities),
    predicted: result.predicted,
    probabilities: named(classes, result.probabilities),
    clips: result.clips.map((clip) => ({
      start_seconds: Math.round(clip.startSeconds * 1000) / 1000,
      probabilities: named(classes, clip.probabilities),
    })),
    seconds: Math.round(quality.seconds * 1000) / 1000,
    body_share: Math.round(quality.bodyShare * 1e4) / 1e4,
    clips_left_out: quality.clipsLeftOut,
    left_out: result.leftOut.map(({ startSeconds, reasons }) => ({
      start_seconds: startSeconds,
      reasons: reasons.map(why),
    })),
    quality: quality.figures,
    model: result.model,
    tfgma: result.site,
    notice: say("researchOnly"),
  };
  return `${JSON.stringify(content, null, 1)}\n`;
}

/** Gives a text as a file to keep. */
export function saveFile(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
