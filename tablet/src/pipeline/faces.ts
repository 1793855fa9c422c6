/** Where a clip's frames show the face, from the body's joints, with much room to spare (pipelines/faces.py). */

import { type Joints, mean } from "./alignment";
import { JOINTS, TORSO_JOINTS } from "./schema";
import type { Picture } from "./vision";

const FACE_JOINTS = JOINTS.map((_, n) => n).filter((n) => /^nose$|eye|ear|mouth/.test(JOINTS[n]));
const RADIUS_IN_TORSOS = 0.65;
const BEYOND_JOINTS = 1.3;
const MIN_FACE_SCORE = 0.5;
const MOST_FROM_NECK = 1.2;
const MOST_TURNED_DEGREES = 60;
const LARGER = 1.3;

type Place = [number, number];

interface Face {
  middle: Place;
  radius: number;
  certain: boolean;
}

/** For each frame of a clip, 1 where it must be blanked. `poses` in pixels of frames of `size` a side. */
export function faceRegions(poses: readonly Joints[], found: readonly boolean[], size: number): Uint8Array[] {
  const faces = facesOf(poses, found);
  const known = faces.flatMap((face, n) => (face.certain ? [n] : []));
  return faces.map((face, number) => {
    const region = new Uint8Array(size * size);
    if (!found[number] || !known.length) return region.fill(1);
    draw(region, size, face.middle, face.middle, face.radius);
    if (face.certain) {
      for (const other of [number - 1, number + 1])
        if (faces[other]?.certain)
          draw(region, size, faces[other].middle, faces[other].middle, faces[other].radius);
      return region;
    }
    const ends = [known.filter((n) => n <= number).at(-1), known.find((n) => n >= number)]
      .filter((n) => n !== undefined)
      .map((n) => faces[n]);
    const radius = LARGER * Math.max(face.radius, ...ends.map((end) => end.radius));
    draw(region, size, ends[0].middle, ends[ends.length - 1].middle, radius);
    draw(region, size, face.middle, face.middle, radius);
    return region;
  });
}

function facesOf(poses: readonly Joints[], found: readonly boolean[]): Face[] {
  const parts = poses.map((pose) => {
    const torso = TORSO_JOINTS.map((n) => pose[n]);
    const between = (a: number, b: number): Place => [
      (torso[a][0] + torso[b][0]) / 2,
      (torso[a][1] + torso[b][1]) / 2,
    ];
    const [neck, crotch] = [between(0, 1), between(2, 3)];
    const spine: Place = [crotch[0] - neck[0], crotch[1] - neck[1]];
    const length = Math.hypot(...spine);
    const joints = FACE_JOINTS.map((n) => pose[n]);
    const middle: Place = [mean(joints.map((one) => one[0])), mean(joints.map((one) => one[1]))];
    const farthest = Math.max(...joints.map(([x, y]) => Math.hypot(x - middle[0], y - middle[1])));
    const direction: Place = [spine[0] / Math.max(length, 1e-6), spine[1] / Math.max(length, 1e-6)];
    return { neck, length, middle, farthest, direction, score: mean(joints.map((one) => one[2])) };
  });
  const seen = parts.filter((_, n) => found[n]);
  const usualLength = seen.length ? medianOf(seen.map((one) => one.length)) : 0;
  const sum = seen.reduce<Place>(
    (total, one) => [total[0] + one.direction[0], total[1] + one.direction[1]],
    [0, 0],
  );
  const norm = Math.max(1e-6, Math.hypot(...sum));
  return parts.map((one, n) => {
    const length = Math.max(one.length, usualLength);
    const fromNeck: Place = [one.middle[0] - one.neck[0], one.middle[1] - one.neck[1]];
    return {
      middle: one.middle,
      radius: Math.max(RADIUS_IN_TORSOS * length, BEYOND_JOINTS * one.farthest),
      certain:
        found[n] &&
        one.score >= MIN_FACE_SCORE &&
        Math.hypot(...fromNeck) <= MOST_FROM_NECK * length &&
        (one.direction[0] * sum[0] + one.direction[1] * sum[1]) / norm >=
          Math.cos((MOST_TURNED_DEGREES * Math.PI) / 180) &&
        // Heads lie on the other side of the neck than hips.
        fromNeck[0] * one.direction[0] + fromNeck[1] * one.direction[1] <= 0,
    };
  });
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Sets what is nearer than `radius` to the way from `start` to `end`. */
function draw(region: Uint8Array, size: number, start: Place, end: Place, radius: number): void {
  const way = [end[0] - start[0], end[1] - start[1]];
  const square = Math.max(1e-6, way[0] ** 2 + way[1] ** 2);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const along = (x - start[0]) * way[0] + (y - start[1]) * way[1];
      const share = Math.min(1, Math.max(0, along / square));
      if (Math.hypot(x - start[0] - share * way[0], y - start[1] - share * way[1]) <= radius)
        region[y * size + x] = 1;
    }
}

/** The picture with `value` in the region. */
export function blanked(picture: Picture, region: Uint8Array, value = 0): Picture {
  const data = picture.data.slice();
  for (let i = 0; i < region.length; i++) if (region[i]) data.fill(value, 3 * i, 3 * i + 3);
  return { ...picture, data };
}

/** The picture with the region smeared beyond recognition: its mean colour in squares of a quarter of the picture. */
export function blurred(picture: Picture, region: Uint8Array): Picture {
  const { width, height } = picture;
  const side = Math.max(4, Math.ceil(width / 4));
  const data = picture.data.slice();
  for (let top = 0; top < height; top += side)
    for (let left = 0; left < width; left += side) {
      const places: number[] = [];
      for (let y = top; y < Math.min(height, top + side); y++)
        for (let x = left; x < Math.min(width, left + side); x++)
          if (region[y * width + x]) places.push(y * width + x);
      for (let c = 0; c < 3; c++) {
        const level = mean(places.map((place) => picture.data[3 * place + c]));
        for (const place of places) data[3 * place + c] = level;
      }
    }
  return { ...picture, data };
}
