/**
 * Peak memory of the app's process while it assesses a video: node memory.mjs URL VIDEO (Linux).
 *
 * URL is a site that is served (`tfgma tablet serve`); CHROMIUM names the browser.
 */

import { readFileSync } from "node:fs";
import { chromium } from "@playwright/test";

const [url, video] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const page = await browser.newPage();
await page.goto(url);
await page.check("#agreed");
await page.click("button.main", { timeout: 90_000 });
const session = await browser.newBrowserCDPSession();
let most = 0;
const watching = setInterval(async () => {
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  for (const { id, type } of processInfo) {
    if (type !== "renderer") continue;
    const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf-8")) ?? [];
    most = Math.max(most, Number(kilobytes ?? 0) / 1024);
  }
}, 500);
const begun = Date.now();
await page.setInputFiles("#file", video);
const last = page.locator("#answer, #refusal");
await last.waitFor({ timeout: 1_200_000 });
clearInterval(watching);
console.log(
  `${((Date.now() - begun) / 1000).toFixed(0)} s, peak ${most.toFixed(0)} MiB: ${await last.textContent()}`,
);
await browser.close();
