/** The app gives what Python gives, stage by stage. */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "@playwright/test";
import { MADE } from "../../playwright.config";
import { assess, begin, savedJson, stages, video } from "./app";

/** Of a class's probability in one clip. */
const MOST_APART = 0.02;

interface Compared {
  pixels: { mean_difference: number; most: number; same_size: boolean };
  times: { frames: [number, number]; same_index: boolean; most_seconds: number };
  body: { found_differently: number; mask_iou_median: number; joints_px_median: number };
  alignment: { centerX: number; centerY: number; angleDegrees: number; sidePx: number; size: number };
  upright_grey: { mean_difference: number };
  upright_flow: { mean_difference: number };
  figures: Record<string, number>;
  probabilities: { clips: [number, number]; most: number | null; same_class: number | null };
}

function compared(name: string, given: unknown): Compared {
  const folder = resolve(MADE, "../parity");
  mkdirSync(folder, { recursive: true });
  const file = `${folder}/${name}.json`;
  writeFileSync(file, JSON.stringify(given));
  const golden = resolve(import.meta.dirname, "../../golden.py");
  const out = execFileSync(
    process.env.PYTHON ?? "python3",
    [golden, "compare", `${MADE}/${name}.json`, file],
    {
      env: { ...process.env, PYTHONPATH: resolve(import.meta.dirname, "../../..") },
    },
  );
  console.log(name, out.toString().replace(/\s+/g, " "));
  return JSON.parse(out.toString());
}

// Every byte of every picture is equal, of scaled ones too.
for (const name of ["plain", "turned", "large"])
  test(`${name}: each stage is Python's`, async ({ page }) => {
    await begin(page, "/#stages");
    const answer = await assess(page, video(`${name}.mp4`));
    const found = compared(name, await stages(page));
    expect(found.times).toMatchObject({ same_index: true });
    expect(found.times.frames[0]).toBe(found.times.frames[1]);
    expect(found.times.most_seconds).toBeLessThan(1e-6);
    expect(found.pixels.same_size).toBe(true);
    expect(found.pixels.mean_difference).toBe(0);
    expect(found.body.found_differently).toBe(0);
    expect(found.body.mask_iou_median).toBeGreaterThanOrEqual(0.999);
    expect(found.body.joints_px_median).toBeLessThanOrEqual(0.01);
    expect(found.alignment.size).toBe(0);
    expect(Math.max(found.alignment.centerX, found.alignment.centerY)).toBeLessThan(0.1);
    expect(found.alignment.angleDegrees).toBeLessThan(0.1);
    expect(found.upright_grey.mean_difference).toBeLessThan(0.1);
    expect(found.upright_flow.mean_difference).toBeLessThan(0.1);
    expect(found.probabilities.clips[0]).toBe(found.probabilities.clips[1]);
    expect(found.probabilities.most).toBeLessThanOrEqual(MOST_APART);
    const python = JSON.parse(readFileSync(`${MADE}/${name}.json`, "utf-8")).answer;
    const saved = await savedJson(page);
    expect(answer).toBe(python.verdict);
    // Two classes that Python itself tells apart by less than both may be off by are no disagreement.
    const [first, second] = Object.values<number>(python.probabilities).sort((a, b) => b - a);
    if (first - second > 2 * MOST_APART) expect(saved.predicted).toBe(python.predicted);
    expect(saved.possible).toEqual(python.possible);
  });

test("the int8 network answers the same class for every clip as Python's", async ({ page }) => {
  await begin(page, "/#stages");
  await assess(page, video("plain.mp4"), "int8");
  const given = (await stages(page)) as { clips: { probabilities: number[] }[] };
  const python = JSON.parse(readFileSync(`${MADE}/plain_int8.json`, "utf-8")) as typeof given;
  // A class that Python itself tells from its best by less than both may be off by is no other verdict.
  const same = given.clips.filter((clip, n) => {
    const theirs = python.clips[n].probabilities;
    const best = clip.probabilities.indexOf(Math.max(...clip.probabilities));
    return Math.max(...theirs) - theirs[best] <= 2 * MOST_APART;
  }).length;
  expect(given.clips.length).toBe(python.clips.length);
  expect(same / given.clips.length).toBeGreaterThanOrEqual(0.97);
});

test("without WebCodecs the player's pictures give nearly the same", async ({ page }) => {
  await page.addInitScript(() => Reflect.deleteProperty(window, "VideoDecoder"));
  await begin(page, "/#stages");
  await assess(page, video("plain.mp4"));
  const given = (await stages(page)) as { source: string };
  expect(given.source).toBe("player");
  const found = compared("plain", given);
  expect(found.times.same_index).toBe(true);
  expect(found.times.most_seconds).toBeLessThan(0.04);
  expect(found.pixels.mean_difference).toBeLessThan(6);
  expect(found.body.mask_iou_median).toBeGreaterThanOrEqual(0.95);
  expect(found.probabilities.clips[0]).toBe(found.probabilities.clips[1]);
});
