/** What a bundle says of a video: one class, or that it cannot be assessed, and why (tfgma/verdict.py). */

import type { Calibration } from "./bundle";
import { roundHalfEven } from "./schema";

const LEAST_PROBABILITY = 1e-8;
/** Python's word for no verdict; pages translate it. */
export const UNCERTAIN = "not assessable / uncertain";

/** `possible`: the conformal set; `answer`: its one class, or UNCERTAIN, and then `reason` names why. */
export interface Verdict {
  probabilities: number[];
  possible: string[];
  answer: string;
  reason: "" | "few" | "several" | "none";
}

/** Probabilities whose logits are divided by `temperature`. */
export function applyTemperature(probabilities: readonly number[], temperature: number): number[] {
  const logits = probabilities.map(
    (p) => Math.log(Math.min(1, Math.max(LEAST_PROBABILITY, p))) / temperature,
  );
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** How many validation subjects a verdict needs. */
export function leastValidated(coverage: number): number {
  return roundHalfEven(1 / (1 - coverage)) - 1;
}

/** The verdict on one video's mean probabilities. */
export function verdictOf(
  probabilities: readonly number[],
  classes: readonly string[],
  calibration: Calibration,
): Verdict {
  const validated = calibration.fits.length;
  const possible = classes.filter((_, n) => {
    const rank = calibration.fits.filter((fit) => fit <= probabilities[n]).length;
    return rank + 1 > (1 - calibration.coverage) * (validated + 1) + 1e-9;
  });
  const calibrated = applyTemperature(probabilities, calibration.temperature);
  if (possible.length === 1) return { probabilities: calibrated, possible, answer: possible[0], reason: "" };
  const reason =
    validated < leastValidated(calibration.coverage) ? "few" : possible.length ? "several" : "none";
  return { probabilities: calibrated, possible, answer: UNCERTAIN, reason };
}
