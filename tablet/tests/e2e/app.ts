/** Ways through the app that several tests take. */

import { readFileSync } from "node:fs";
import { expect, type Page } from "@playwright/test";
import { MADE } from "../../playwright.config";

export const video = (name: string) => `${MADE}/videos/${name}`;

/** Opens the app and agrees; with `stored`, once it is on the device. */
export async function begin(page: Page, address = "/"): Promise<void> {
  await page.goto(address);
  await page.check("#agreed");
  await page.getByRole("button", { name: "Continue" }).click({ timeout: 60_000 });
  await expect(page.getByRole("heading", { name: "The video" })).toBeVisible();
}

/** Gives a file and waits for the last screen: the result's answer or the refusal's code. */
export async function assess(
  page: Page,
  file: string,
  variant = "float32",
  timeout = 220_000,
): Promise<string> {
  await page.selectOption("#variant", variant);
  await page.setInputFiles("#file", file);
  const last = page.locator("#answer, #refusal");
  await last.waitFor({ timeout });
  return (await last.getAttribute("data-answer")) ?? (await last.getAttribute("data-code")) ?? "";
}

/** What the app gave as a file. */
export async function savedJson(page: Page): Promise<Record<string, unknown>> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-json")]);
  return JSON.parse(readFileSync(await download.path(), "utf-8"));
}

/** Every stage, where the address ended with #stages. */
export function stages(page: Page): Promise<unknown> {
  return page.evaluate(() => window.tfgmaStages);
}
