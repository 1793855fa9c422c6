/** How much memory the app takes for the longest video that it is made for. */

import { existsSync, readFileSync } from "node:fs";
import { expect, test, type Page } from "@playwright/test";
import { MADE } from "../../playwright.config";
import { assess, begin } from "./app";

const MOST_BYTES = 1e9;
const MINUTE = 60_000;

/** The largest resident bytes that the page's process ever had. */
async function peakBytes(page: Page): Promise<number> {
  const session = await page.context().browser()!.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const peaks = processInfo
    .filter(({ type }) => type === "renderer")
    .map(({ id }) => /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf-8"))?.[1]);
  return 1024 * Math.max(...peaks.map(Number));
}

test("three minutes of 1080p stay under 1 GB @long", async ({ page }) => {
  test.skip(!existsSync("/proc/self/status"), "this system does not tell what its processes take");
  test.setTimeout(30 * MINUTE);
  await begin(page);
  const before = await peakBytes(page);
  const begun = Date.now();
  await assess(page, `${MADE}/long_videos/three_minutes.mp4`, "float32", 28 * MINUTE);
  const seconds = (Date.now() - begun) / 1000;
  const peak = await peakBytes(page);
  const [first, last] = [before, peak].map((bytes) => `${(bytes / 1e6).toFixed(0)} MB`);
  console.log(`three minutes of 1080p: ${seconds.toFixed(0)} s, ${last} at most; ${first} before`);
  await expect(page.locator("#answer")).toBeVisible();
  expect(peak).toBeGreaterThan(before);
  expect(peak).toBeLessThan(MOST_BYTES);
});
