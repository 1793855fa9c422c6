/** Pure stages against the answers of Python's. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { estimateAlignment, type Joints } from "../../src/pipeline/alignment";
import { cameraMovement, viewOf } from "../../src/pipeline/camera";
import { faceRegions } from "../../src/pipeline/faces";
import { quantizeFlow } from "../../src/pipeline/flow";
import { clipInputs } from "../../src/pipeline/inputs";
import { countOnes } from "../../src/pipeline/masks";
import type { CV } from "../../src/pipeline/opencv";
import { type Plane, toRgb, workingSize } from "../../src/pipeline/pixels";
import { JointSmoother } from "../../src/pipeline/pose";
import { type Figures, type QualityLimits, reasonsAgainst, sharpness } from "../../src/pipeline/quality";
import { onGrid, pixelMatrix, type Square } from "../../src/pipeline/squares";
import { DecodeReport, SteadyTimes } from "../../src/pipeline/times";
import { verdictOf } from "../../src/pipeline/verdict";
import { type Picture, Vision } from "../../src/pipeline/vision";

// What Python wrote has as many shapes as it has parts.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
const python: any = JSON.parse(
  readFileSync(resolve(import.meta.dirname, "../../build/tests/vectors.json"), "utf-8"),
);
const cv: CV = await createRequire(import.meta.url)("@techstark/opencv-js");
const vision = new Vision(cv);

function close(found: ArrayLike<number>, wanted: ArrayLike<number>, within: number): void {
  expect(found.length).toBe(wanted.length);
  let most = 0;
  for (let i = 0; i < wanted.length; i++) most = Math.max(most, Math.abs(found[i] - wanted[i]));
  expect(most).toBeLessThanOrEqual(within);
}

const squareOf = (given: Record<string, number>): Square => ({
  centerX: given.center_x,
  centerY: given.center_y,
  angleDegrees: given.angle_degrees,
  sidePx: given.side_px,
});

test("a square's matrix", () => {
  const { square, size, matrix } = python.square;
  close(pixelMatrix(squareOf(square), size), matrix, 1e-9);
});

test("squares are cut to the byte, and lie on one grid", () => {
  expect(python.cuts.length).toBe(8);
  for (const { frame, square, on_grid, cut, raw } of python.cuts) {
    const given = squareOf(square);
    const found = onGrid(given);
    close(Object.values(found), Object.values(squareOf(on_grid)), 1e-9);
    const picture = { width: 120, height: 90, channels: 3, data: Uint8Array.from(frame) };
    close(vision.cut(picture, found, 48).data, cut, 0);
    close(vision.cut(picture, given, 48).data, raw, 0);
  }
});

test("scaled pictures are the same to the byte", () => {
  for (const { width, height, long_side, planes, matrix, siting, full, pixels } of python.scalings) {
    const [y, u, v] = (planes as number[][]).map((values, n): Plane => {
      const [w, h] = n ? [Math.ceil(width / 2), Math.ceil(height / 2)] : [width, height];
      return { data: Uint8Array.from(values), offset: 0, stride: w, step: 1, width: w, height: h };
    });
    const found = toRgb({ y, u, v, matrix, siting, fullRange: full }, workingSize(width, height, long_side));
    close(found.data, pixels, 0);
  }
});

test("alignment of sampled poses", () => {
  const { poses, answer } = python.alignment;
  const found = estimateAlignment(poses, 96, 3 / 0.8);
  close(
    [found.centerX, found.centerY, found.angleDegrees, found.sidePx],
    [answer.center_x, answer.center_y, answer.angle_degrees, answer.side_px],
    1e-4,
  );
});

test("joints over time", () => {
  const smoother = new JointSmoother();
  python.smoother.places.forEach((places: number[][], n: number) => {
    close(smoother.smooth(places, n / 6, 150).flat(), python.smoother.answers[n].flat(), 1e-4);
  });
});

test("regions of faces", () => {
  const { poses, found, answer } = python.faces;
  const half = poses.map((pose: Joints) => pose.map(([x, y, s]) => [x / 2, y / 2, s] as const));
  const counts = faceRegions(half, found, 96).map(countOnes);
  close(counts, answer, 3);
});

describe("two frames of a moving camera", () => {
  const { first, second, mask, movement, flow } = python.camera;
  const picture = (data: number[]): Picture => ({
    width: 160,
    height: 120,
    channels: 3,
    data: Uint8Array.from(data),
  });
  const [a, b] = [picture(first), picture(second)];
  const body = Uint8Array.from(mask as number[]);

  test("the camera's movement", () => {
    const found = cameraMovement(vision, viewOf(vision, a, body), viewOf(vision, b, body));
    expect(found).not.toBeNull();
    for (const [x, y] of [
      [0, 0],
      [160, 120],
    ]) {
      const at = (m: number[], row: number) => m[3 * row] * x + m[3 * row + 1] * y + m[3 * row + 2];
      for (const row of [0, 1]) expect(Math.abs(at([...found!], row) - at(movement, row))).toBeLessThan(0.05);
    }
  });

  test("flow", () => {
    const codes = quantizeFlow(vision.farneback(vision.grey(a), vision.grey(b)).data, 8);
    const off = codes.filter((code, i) => Math.abs(code - flow[i]) > 1).length / codes.length;
    expect(off).toBeLessThan(0.001);
  });

  test("sharpness", () => {
    expect(sharpness(vision, vision.grey(a), body)).toBeCloseTo(python.camera.sharpness, 4);
  });
});

test("what networks take", () => {
  const { spec, settings, rgb, flow, answers } = python.inputs;
  const clip = {
    startSeconds: 0,
    rgb: rgb.map((data: number[]) => ({ width: 32, height: 32, channels: 3, data: Uint8Array.from(data) })),
    flow: flow.map((codes: number[]) => Uint8Array.from(codes)),
  };
  const found = clipInputs(clip, Object.keys(answers), spec, settings);
  for (const name of Object.keys(answers)) close(found[name], answers[name], 1e-6);
});

test("verdicts", () => {
  for (const one of python.verdicts) {
    const found = verdictOf(one.probabilities, ["FMs", "PR", "WMs"], one.calibration);
    expect(found.answer).toBe(one.answer);
    expect(found.possible).toEqual(one.possible);
    close(found.probabilities, one.calibrated, 1e-9);
  }
  const kinds = new Set(python.verdicts.map((one: { answer: string }) => one.answer));
  expect(kinds.size).toBeGreaterThan(2);
});

test("reasons against a recording", () => {
  const { limits, cases } = python.reasons;
  for (const one of cases as { figures: Figures; count: number }[])
    expect(reasonsAgainst(one.figures, limits as QualityLimits)).toHaveLength(one.count);
});

test("times of a damaged file", () => {
  const { times, answer, out_of_order, clock_jumps } = python.times;
  const report = new DecodeReport();
  const steady = new SteadyTimes<null>(report, () => {});
  const found = (times as number[]).flatMap((time) => steady.next(time, null).map(({ seconds }) => seconds));
  steady.end();
  close(found, answer, 1e-9);
  expect([report.outOfOrder, report.clockJumps]).toEqual([out_of_order, clock_jumps]);
});
