/** Each language says everything, with the same places to fill. */

import { expect, test } from "vitest";
import { LANGUAGES } from "../../src/strings";
import { en, type Key } from "../../src/strings/en";

const places = (sentence: string) => [...sentence.matchAll(/\{\w+\}/g)].map(([place]) => place).sort();

test.each(Object.entries(LANGUAGES))("%s", (_, strings) => {
  expect(Object.keys(strings).sort()).toEqual(Object.keys(en).sort());
  for (const key of Object.keys(en) as Key[]) {
    expect(strings[key].length).toBeGreaterThan(0);
    expect(places(strings[key]), key).toEqual(places(en[key]));
  }
});
