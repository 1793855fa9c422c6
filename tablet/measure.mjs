/**
 * Compares the app with Python on videos: node measure.mjs BUNDLE OUT VIDEO...
 *
 * Serves the bundle's site, drives the app in Chromium for each video and variant, lets golden.py compare, and
 * prints a line each; OUT keeps every stage. PYTHON and CHROMIUM name the programs.
 */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { chromium } from "@playwright/test";

const [bundle, out, ...videos] = process.argv.slice(2);
const python = process.env.PYTHON ?? "python3";
const here = import.meta.dirname;
const environment = { ...process.env, PYTHONPATH: resolve(here, "..") };
const PORT = 8796;
const VARIANTS = ["float32", "int8"];

function run(...args) {
  return execFileSync(python, args, { env: environment, stdio: ["ignore", "pipe", "ignore"] }).toString();
}

mkdirSync(out, { recursive: true });
const site = `${out}/site`;
if (!existsSync(site))
  run("-c", "from tfgma.cli import main; main()", "tablet", "site", bundle, "--out", site);
const server = spawn(python, [`${here}/tests/serve.py`, site, String(PORT)], {
  env: environment,
  stdio: "ignore",
});
await new Promise((done) => setTimeout(done, 4000));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const all = [];
try {
  for (const [number, video] of videos.entries()) {
    const golden = `${out}/python_${number}.json`;
    if (!existsSync(golden)) run(`${here}/golden.py`, "make", video, bundle, golden);
    for (const variant of VARIANTS) {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${PORT}/#stages`);
      await page.check("#agreed");
      await page.click("button.main", { timeout: 90_000 });
      await page.selectOption("#variant", variant);
      await page.setInputFiles("#file", video);
      await page.locator("#answer, #refusal").waitFor({ timeout: 600_000 });
      const verdict = await page.locator("#answer").getAttribute("data-answer");
      const file = `${out}/app_${number}_${variant}.json`;
      writeFileSync(file, JSON.stringify(await page.evaluate(() => window.tfgmaStages)));
      await page.close();
      const { body, probabilities } = JSON.parse(run(`${here}/golden.py`, "compare", golden, file));
      all.push({ variant, ...probabilities });
      console.log(
        `${video} ${variant} verdict ${verdict} IoU ${body.mask_iou_median.toFixed(4)} joints ` +
          `${body.joints_px_median.toFixed(2)} px, probabilities ${probabilities.most.toFixed(4)}, ` +
          `same class ${(100 * probabilities.same_class).toFixed(0)} % of ${probabilities.clips[0]} clips`,
      );
    }
  }
  for (const variant of VARIANTS) {
    const rows = all.filter((row) => row.variant === variant);
    const clips = rows.reduce((sum, row) => sum + row.clips[0], 0);
    const same = rows.reduce((sum, row) => sum + row.same_class * row.clips[0], 0);
    console.log(`${variant}: same class ${same.toFixed(0)} of ${clips} clips`);
  }
} finally {
  await browser.close();
  server.kill();
}
