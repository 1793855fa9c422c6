/** Every screen against the rules of WCAG A and AA that a machine can tell, in light and in dark. */

import AxeBuilder from "@axe-core/playwright";
import { expect, test, type Page } from "@playwright/test";
import { assess, begin, video } from "./app";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

async function expectNothingAgainst(page: Page, screen: string): Promise<void> {
  const found = await new AxeBuilder({ page }).withTags(RULES).analyze();
  expect(
    found.passes.map(({ id }) => id),
    screen,
  ).toContain("color-contrast");
  const against = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(" ")}`);
  expect(against, screen).toEqual([]);
}

for (const colorScheme of ["light", "dark"] as const)
  test(`screens keep to WCAG AA in ${colorScheme}`, async ({ page }) => {
    page.on("dialog", (dialog) => dialog.accept());
    await page.emulateMedia({ colorScheme });
    await page.goto("/");
    await expect(page.locator("#agreed")).toBeVisible();
    await expectNothingAgainst(page, "consent");
    await begin(page);
    await expectNothingAgainst(page, "choose");
    await page.getByRole("button", { name: "Record a video" }).click();
    await expect(page.locator("#hint")).not.toBeEmpty({ timeout: 60_000 });
    await expectNothingAgainst(page, "record");
    await begin(page);
    await page.setInputFiles("#file", video("minute.mp4"));
    await expect(page.getByRole("progressbar", { name: "Progress" })).toBeVisible();
    await expectNothingAgainst(page, "process");
    await page.getByRole("button", { name: "Cancel" }).click();
    await assess(page, video("plain.mp4"), "int8");
    await expectNothingAgainst(page, "result");
    await begin(page);
    await assess(page, video("nobody.mp4"), "int8");
    await expectNothingAgainst(page, "refused");
    await begin(page);
    await page.getByRole("button", { name: "Earlier results" }).click();
    await expect(page.getByRole("button", { name: "Open" })).toBeVisible();
    await expectNothingAgainst(page, "history");
  });
