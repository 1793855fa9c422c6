/** The app as a health worker meets it: offline, private, quick, and kept on the device. */

import { expect, test } from "@playwright/test";
import { assess, begin, savedJson, video } from "./app";

test("it is installable: manifest, icons, service worker", async ({ page }) => {
  await begin(page);
  const manifest = await page.evaluate(async () => {
    const link = document.querySelector<HTMLLinkElement>('link[rel="manifest"]')!;
    return (await fetch(link.href)).json();
  });
  expect(manifest).toMatchObject({ display: "standalone", start_url: "./" });
  const sizes = manifest.icons.map((icon: { sizes: string }) => icon.sizes);
  expect(sizes).toEqual(expect.arrayContaining(["192x192", "512x512"]));
  for (const icon of manifest.icons) expect((await page.request.get(`/${icon.src}`)).ok()).toBe(true);
  const client = await page.context().newCDPSession(page);
  const { installabilityErrors } = await client.send("Page.getInstallabilityErrors");
  expect(installabilityErrors.map((one) => one.errorId).filter((id) => id !== "in-incognito")).toEqual([]);
  expect(await page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
  expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
});

test("without a network it opens again and assesses", async ({ page, context }) => {
  await begin(page);
  await context.setOffline(true);
  await page.reload();
  await begin(page);
  await assess(page, video("plain.mp4"), "int8");
  await expect(page.locator("#answer")).toBeVisible();
});

test("no request leaves the origin, and none could", async ({ page, baseURL }) => {
  const asked: string[] = [];
  page.context().on("request", (request) => asked.push(request.url()));
  await begin(page);
  await assess(page, video("plain.mp4"), "int8");
  const elsewhere = asked.filter((url) => !url.startsWith(baseURL!) && !/^(blob|data):/.test(url));
  expect(asked.length).toBeGreaterThan(3);
  expect(elsewhere).toEqual([]);
  const attempt = await page.evaluate(async () => {
    const broken: string[] = [];
    document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
    const refused = await fetch("https://example.org/").then(
      () => false,
      () => true,
    );
    new Image().src = "https://example.org/picture.png";
    navigator.sendBeacon("https://example.org/", "x");
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { refused, broken };
  });
  expect(attempt.refused).toBe(true);
  expect(attempt.broken).toEqual(expect.arrayContaining(["connect-src", "img-src"]));
  for (const path of ["/", "/worker.js", "/sw.js"]) {
    const policy = (await page.request.get(path)).headers()["content-security-policy"];
    expect(policy).toContain("connect-src 'self'");
  }
});

test("a minute of 640x480 takes at most 90 s, and the page never stands still", async ({ page }) => {
  await begin(page);
  await page.evaluate(() => {
    const long: number[] = [];
    (window as unknown as { long: number[] }).long = long;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) long.push(entry.duration);
    }).observe({ type: "longtask" });
  });
  const begun = Date.now();
  await assess(page, video("minute.mp4"));
  const seconds = (Date.now() - begun) / 1000;
  const long = await page.evaluate(() => (window as unknown as { long: number[] }).long);
  const longest = Math.max(0, ...long);
  console.log(`minute: ${seconds.toFixed(1)} s; the page's longest task: ${longest.toFixed(0)} ms`);
  expect(seconds).toBeLessThanOrEqual(Number(process.env.MOST_SECONDS ?? 90));
  expect(longest).toBeLessThanOrEqual(100);
});

test("it records from the camera, guides, and assesses", async ({ page }) => {
  await begin(page);
  await page.selectOption("#variant", "int8");
  await page.getByRole("button", { name: "Record a video" }).click();
  await expect(page.locator("#hint")).toHaveText(/Good|closer|Go back|blurred/, { timeout: 60_000 });
  await page.getByRole("button", { name: "Start recording" }).click();
  await expect(page.getByRole("timer")).toHaveText(/^[6-9] s recorded/, { timeout: 60_000 });
  await page.getByRole("button", { name: "Stop and assess" }).click();
  await page.locator("#answer, #refusal").waitFor({ timeout: 200_000 });
  await expect(page.locator("#answer")).toBeVisible();
});

test("progress is shown, and cancelling ends the work", async ({ page }) => {
  await begin(page);
  await page.setInputFiles("#file", video("minute.mp4"));
  const bar = page.getByRole("progressbar", { name: "Progress" });
  await expect(bar).toHaveAttribute("value", /0\.0[1-9]/, { timeout: 100_000 });
  await expect(page.getByText("The body is found")).toBeVisible();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { name: "The video" })).toBeVisible();
  await expect.poll(() => page.workers().length).toBe(0);
});

test("results are kept without the video, open again, and can be deleted", async ({ page }) => {
  page.on("dialog", (dialog) => dialog.accept());
  await begin(page);
  await assess(page, video("plain.mp4"), "int8");
  const saved = await savedJson(page);
  await expect(page.locator("main video")).toHaveCount(1);
  await page.reload();
  await page.getByRole("button", { name: "Earlier results" }).click();
  await page.getByRole("button", { name: "Open" }).click();
  await expect(page.locator("#answer")).toHaveAttribute("data-answer", String(saved.verdict));
  await expect(page.locator("main video")).toHaveCount(0);
  await page.getByRole("button", { name: "Earlier results" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await expect(page.getByText("There are no results on this device.")).toBeVisible();
});

test("it can be used by keyboard alone, and in Spanish", async ({ page }) => {
  await page.goto("/");
  await page.getByLabel("Language / Idioma").selectOption("es");
  await expect(page.locator("html")).toHaveAttribute("lang", "es");
  await page.locator("#agreed").focus();
  await page.keyboard.press("Space");
  const next = page.getByRole("button", { name: "Continuar" });
  await expect(next).toBeEnabled({ timeout: 60_000 });
  await page.keyboard.press("Tab");
  await expect(next).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "El vídeo" })).toBeFocused();
});

for (const [name, width, height] of [
  ["phone", 390, 844],
  ["tablet", 768, 1024],
] as const)
  test(`on a ${name} nothing is cut off and targets are large`, async ({ page }) => {
    await page.setViewportSize({ width, height });
    await begin(page);
    const check = () =>
      page.evaluate(() => ({
        wide: document.documentElement.scrollWidth - window.innerWidth,
        small: [...document.querySelectorAll<HTMLElement>("button, .button, select")]
          .filter((one) => one.offsetParent && Math.min(one.offsetHeight, one.offsetWidth) < 44)
          .map((one) => one.textContent),
      }));
    expect(await check()).toEqual({ wide: 0, small: [] });
    await assess(page, video("plain.mp4"), "int8");
    expect(await check()).toEqual({ wide: 0, small: [] });
  });
