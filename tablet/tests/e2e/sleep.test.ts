/** A tablet that sleeps takes decoders away, or closes the app. */

import { expect, test } from "@playwright/test";
import { assess, begin, savedJson, stages, video } from "./app";

/** Before the worker's own code: decoders end after so many frames, as a system ends those of a tab that sleeps. */
const TAKEN_AWAY = `
let taken = 0;
const Whole = VideoDecoder;
globalThis.VideoDecoder = class extends Whole {
  constructor(init) {
    let frames = 0;
    super({
      ...init,
      output: (frame) => {
        if (taken < 3 && ++frames > 20) {
          frame.close();
          if (frames > 21) return;
          console.info(\`decoder \${++taken} taken away\`);
          init.error(new DOMException("Codec reclaimed due to inactivity.", "QuotaExceededError"));
          return;
        }
        init.output(frame);
      },
    });
  }
};
`;

test.describe("without the stored copy", () => {
  test.use({ serviceWorkers: "block" });

  test("decoders that were taken away change nothing", async ({ page }) => {
    await begin(page, "/#stages");
    const answer = await assess(page, video("plain.mp4"));
    const whole = { stages: await stages(page), probabilities: (await savedJson(page)).probabilities };

    const told: string[] = [];
    page.on("console", (message) => told.push(message.text()));
    await page.route("**/worker.js", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: TAKEN_AWAY + (await response.text()) });
    });
    await page.reload();
    await begin(page, "/#stages");
    expect(await assess(page, video("plain.mp4"))).toBe(answer);
    expect(told.filter((text) => text.endsWith("taken away"))).toHaveLength(3);
    expect((await savedJson(page)).probabilities).toEqual(whole.probabilities);
    expect(await stages(page)).toEqual(whole.stages);
  });
});

test("an app that was closed in mid-work says so when it opens again, once", async ({ page }) => {
  await begin(page);
  await page.setInputFiles("#file", video("minute.mp4"));
  await expect(page.getByText("The body is found")).toBeVisible({ timeout: 100_000 });
  await page.reload();
  await begin(page);
  await expect(page.getByText("The last assessment was interrupted when the app closed")).toBeVisible();
  await page.reload();
  await begin(page);
  await expect(page.getByText("The last assessment was interrupted")).toBeHidden();
});
