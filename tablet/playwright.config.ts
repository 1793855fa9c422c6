/** The app in real Chromium, found by path. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "@playwright/test";

const PATHS = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/snap/bin/chromium",
];
export const CHROMIUM = process.env.CHROMIUM ?? PATHS.find((path) => existsSync(path));
export const MADE = resolve(import.meta.dirname, "build/tests");
const PORT = 8797;

if (!CHROMIUM) {
  console.log("skipped: there is no Chromium on this machine. Install it, or name it in CHROMIUM");
  process.exit(0);
}

export default defineConfig({
  testDir: "tests/e2e",
  // Tests that take many minutes are asked for: make test-long.
  ...(process.env.LONG ? { grep: /@long/ } : { grepInvert: /@long/ }),
  outputDir: "build/test-results",
  workers: 1,
  timeout: 240_000,
  reporter: "list",
  use: {
    baseURL: `http://127.0.0.1:${PORT}/`,
    viewport: { width: 1024, height: 768 },
    locale: "en-GB",
    launchOptions: {
      executablePath: CHROMIUM,
      args: [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        `--use-file-for-fake-video-capture=${MADE}/videos/camera.mjpeg`,
      ],
    },
  },
  webServer: {
    command: `${process.env.PYTHON ?? "python3"} tests/serve.py ${MADE}/site ${PORT}`,
    port: PORT,
    reuseExistingServer: false,
  },
});
