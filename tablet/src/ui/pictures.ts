/** Pictures of the pipeline on canvases. */

import type { Picture } from "../pipeline/vision";

const OUTLINE = [38, 222, 129];

/** Draws RGB into a canvas of its size. */
export function paint(canvas: HTMLCanvasElement, picture: Picture): CanvasRenderingContext2D {
  const { width, height, data } = picture;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d")!;
  context.putImageData(new ImageData(withAlpha(data), width, height), 0, 0);
  return context;
}

function withAlpha(data: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray((data.length / 3) * 4).fill(255);
  for (let i = 0, o = 0; i < data.length; i += 3, o += 4) {
    out[o] = data[i];
    out[o + 1] = data[i + 1];
    out[o + 2] = data[i + 2];
  }
  return out;
}

/** Colours the body, and draws its joints. */
export function paintBody(
  canvas: HTMLCanvasElement,
  picture: Picture,
  mask: Uint8Array | null,
  joints: readonly (readonly [number, number, number])[],
): void {
  const data = picture.data.slice();
  if (mask)
    for (let i = 0; i < mask.length; i++)
      if (mask[i]) for (let c = 0; c < 3; c++) data[3 * i + c] = 0.65 * data[3 * i + c] + 0.35 * OUTLINE[c];
  const context = paint(canvas, { ...picture, data });
  context.fillStyle = "#fff";
  context.strokeStyle = "#155e63";
  context.lineWidth = 2;
  for (const [x, y, score] of joints.slice(11)) {
    if (score < 0.5) continue;
    context.beginPath();
    context.arc(x, y, 4, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}
