/** Loads OpenCV's build for browsers, which is one file beside the worker. */

import type { CV } from "../pipeline/opencv";

export async function loadOpenCV(file: string): Promise<CV> {
  importScripts(file);
  return await (globalThis as unknown as { cv: PromiseLike<CV> }).cv;
}
