/** What goes wrong is said in a sentence that a health worker understands. */

import { expect, test } from "@playwright/test";
import { assess, begin, video } from "./app";

for (const [file, code, sentence] of [
  ["broken.mp4", "badFile", /not a video that can be read.*record a new one/],
  ["short.mp4", "tooShort", /too short: 1\.0 s.*At least 2 s/],
  ["nobody.mp4", "noBody", /No body was found.*from above, in good light/],
] as const)
  test(`${file} is refused`, async ({ page }) => {
    await begin(page);
    expect(await assess(page, video(file))).toBe(code);
    await expect(page.locator("#refusal")).toHaveText(sentence);
    await page.getByRole("button", { name: "Choose another video" }).click();
    await expect(page.getByRole("heading", { name: "The video" })).toBeVisible();
  });

test("a dark video is not assessable, and the page says why", async ({ page }) => {
  await begin(page);
  const code = await assess(page, video("dark.mp4"));
  expect(["notAssessable", "noBody"]).toContain(code);
  await expect(page.locator("#refusal, main ul")).toContainText([/./]);
});

test("of two bodies one is assessed, and the page says that somebody else was seen", async ({ page }) => {
  await begin(page);
  await assess(page, video("two.mp4"));
  await expect(
    page.locator("#others, main li").filter({ hasText: /Somebody else|other people/ }),
  ).toBeVisible();
});

test.describe("without the stored copy", () => {
  test.use({ serviceWorkers: "block" });

  test("a missing model file is named", async ({ page }) => {
    await page.route("**/model/model_float32.tflite", (route) => route.fulfill({ status: 404 }));
    await begin(page);
    expect(await assess(page, video("plain.mp4"))).toBe("fileMissing");
    await expect(page.locator("#refusal")).toHaveText(/A part of the app is missing: model_float32\.tflite/);
  });

  test("a changed network is not used", async ({ page }) => {
    await page.route("**/model/pose_detector.tflite", (route) => route.fulfill({ body: "other bytes" }));
    await begin(page);
    expect(await assess(page, video("plain.mp4"))).toBe("fileChanged");
    await expect(page.locator("#refusal")).toHaveText(/damaged: pose_detector\.tflite/);
  });

  test("where memory runs out the page says what to do", async ({ page }) => {
    await page.route("**/opencv/opencv.js", (route) =>
      route.fulfill({ contentType: "text/javascript", body: "new ArrayBuffer(2 ** 53 - 1)" }),
    );
    await begin(page);
    expect(await assess(page, video("plain.mp4"))).toBe("memory");
    await expect(page.locator("#refusal")).toHaveText(/ran out of memory\. Close other apps/);
  });
});
