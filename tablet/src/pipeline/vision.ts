/** OpenCV's functions on plain pictures; nothing of OpenCV's own memory leaves this file. */

import type { CV, Mat } from "./opencv";
import { type Matrix, placesOf, type Square } from "./squares";

/** Row by row, channels together: `data` has width * height * channels values. */
export interface Picture<T extends Uint8Array | Float32Array = Uint8Array> {
  width: number;
  height: number;
  channels: number;
  data: T;
}

export const FARNEBACK = { pyrScale: 0.5, levels: 3, winSize: 5, iterations: 3, polyN: 7, polySigma: 1.5 };

/** Steps taken for a corner at most, and the step that is small enough, px (pipelines/camera.py). */
const FOLLOW_STEPS = 10;
const FOLLOW_STEP = 0.03;
const FOLLOW_SIDE = 15;

export class Vision {
  constructor(private readonly cv: CV) {}

  private typeOf(picture: Picture<Uint8Array | Float32Array>): number {
    const depth = picture.data instanceof Float32Array ? 5 : 0;
    const perChannel = (this.cv.CV_8UC3 - this.cv.CV_8UC1) / 2;
    return depth + (picture.channels - 1) * perChannel;
  }

  private mat(picture: Picture<Uint8Array | Float32Array>): Mat {
    const mat = new this.cv.Mat(picture.height, picture.width, this.typeOf(picture));
    if (picture.data instanceof Float32Array) mat.data32F.set(picture.data);
    else mat.data.set(picture.data);
    return mat;
  }

  private taken<T extends Uint8Array | Float32Array>(mat: Mat, like: T): Picture<T> {
    const data = like instanceof Float32Array ? mat.data32F.slice() : mat.data.slice();
    return { width: mat.cols, height: mat.rows, channels: mat.channels(), data: data as T };
  }

  private with<R>(make: () => Mat[], use: (mats: Mat[]) => R): R {
    const mats = make();
    try {
      return use(mats);
    } finally {
      for (const mat of mats) mat.delete();
    }
  }

  /** What lies in `picture` where `matrix` leads from one of `width` by `height`, linearly; 0 outside. */
  warp<T extends Uint8Array | Float32Array>(
    picture: Picture<T>,
    matrix: Matrix,
    width: number,
    height: number,
  ): Picture<T> {
    const { cv } = this;
    return this.with(
      () => [this.mat(picture), cv.matFromArray(2, 3, cv.CV_64F, [...matrix]), new cv.Mat()],
      ([source, move, out]) => {
        const flags = cv.INTER_LINEAR | cv.WARP_INVERSE_MAP;
        cv.warpAffine(
          source,
          out,
          move,
          new cv.Size(width, height),
          flags,
          cv.BORDER_CONSTANT,
          new cv.Scalar(),
        );
        return this.taken(out, picture.data);
      },
    );
  }

  /** A square of `picture`, upright, linearly and in whole numbers: Python's bytes; 0 outside. */
  cut(picture: Picture, square: Square, size: number): Picture {
    const { cv } = this;
    return this.with(
      () => [
        this.mat(picture),
        new cv.Mat(size, size, cv.CV_16SC2),
        new cv.Mat(size, size, cv.CV_16UC1),
        new cv.Mat(),
      ],
      ([source, pixels, parts, out]) => {
        const places = placesOf(square, size);
        pixels.data16S.set(places.pixels);
        parts.data16U.set(places.parts);
        cv.remap(source, out, pixels, parts, cv.INTER_LINEAR, cv.BORDER_CONSTANT, new cv.Scalar());
        return this.taken(out, picture.data);
      },
    );
  }

  /** RGB to grey, by OpenCV's integer weights. */
  grey(picture: Picture): Picture {
    const { cv } = this;
    return this.with(
      () => [this.mat(picture), new cv.Mat()],
      ([source, out]) => {
        cv.cvtColor(source, out, cv.COLOR_RGB2GRAY);
        return this.taken(out, picture.data);
      },
    );
  }

  /** Scaled by the means of areas. */
  shrink<T extends Uint8Array | Float32Array>(
    picture: Picture<T>,
    width: number,
    height: number,
  ): Picture<T> {
    if (width === picture.width && height === picture.height) return picture;
    const { cv } = this;
    return this.with(
      () => [this.mat(picture), new cv.Mat()],
      ([source, out]) => {
        cv.resize(source, out, new cv.Size(width, height), 0, 0, cv.INTER_AREA);
        return this.taken(out, picture.data);
      },
    );
  }

  /** As `shrink` by a factor, which is not rounded to whole sides. */
  shrinkBy(picture: Picture, scale: number): Picture {
    const { cv } = this;
    return this.with(
      () => [this.mat(picture), new cv.Mat()],
      ([source, out]) => {
        cv.resize(source, out, new cv.Size(0, 0), scale, scale, cv.INTER_AREA);
        return this.taken(out, picture.data);
      },
    );
  }

  /** Means over `width` by `height` pixels. */
  blur(picture: Picture<Float32Array>, width: number, height: number): Picture<Float32Array> {
    const { cv } = this;
    return this.with(
      () => [this.mat(picture), new cv.Mat()],
      ([source, out]) => {
        cv.blur(source, out, new cv.Size(width, height));
        return this.taken(out, picture.data);
      },
    );
  }

  /** Grey to grey: (H, W, 2) pixels, x then y, positive right and down. */
  farneback(first: Picture, second: Picture): Picture<Float32Array> {
    const { cv } = this;
    const f = FARNEBACK;
    return this.with(
      () => [this.mat(first), this.mat(second), new cv.Mat()],
      ([a, b, out]) => {
        cv.calcOpticalFlowFarneback(
          a,
          b,
          out,
          f.pyrScale,
          f.levels,
          f.winSize,
          f.iterations,
          f.polyN,
          f.polySigma,
          0,
        );
        return this.taken(out, new Float32Array());
      },
    );
  }

  /** Largest value of an ellipse of `reach` around each pixel. */
  dilateEllipse(picture: Picture, reach: number): Picture {
    const { cv } = this;
    const side = 2 * reach + 1;
    return this.with(
      () => [
        this.mat(picture),
        cv.getStructuringElement(cv.MORPH_ELLIPSE, new cv.Size(side, side)),
        new cv.Mat(),
      ],
      ([source, kernel, out]) => {
        cv.dilate(source, out, kernel);
        return this.taken(out, picture.data);
      },
    );
  }

  /** How much of a corner each pixel is, and the largest such value of its 3 x 3 neighbours and itself. */
  corners(grey: Picture): { values: Float32Array; around: (least: number) => Float32Array } {
    const { cv } = this;
    const values = this.with(
      () => [this.mat(grey), new cv.Mat()],
      ([source, out]) => {
        cv.cornerMinEigenVal(source, out, 3, 3);
        return out.data32F.slice();
      },
    );
    const around = (least: number): Float32Array => {
      const cut = values.map((value) => (value > least ? value : 0));
      const picture = { width: grey.width, height: grey.height, channels: 1, data: cut };
      return this.with(
        () => [this.mat(picture), cv.Mat.ones(3, 3, cv.CV_8UC1), new cv.Mat()],
        ([source, kernel, out]) => {
          cv.dilate(source, out, kernel);
          return out.data32F.slice();
        },
      );
    };
    return { values, around };
  }

  /** Points (x, y, x, y, ...) of `first` where they are in `second`, and whether each was found. */
  follow(first: Picture, second: Picture, points: Float32Array): { points: Float32Array; found: Uint8Array } {
    const { cv } = this;
    const count = points.length / 2;
    return this.with(
      () => {
        const from = new cv.Mat(count, 1, cv.CV_32FC2);
        from.data32F.set(points);
        return [this.mat(first), this.mat(second), from, new cv.Mat(), new cv.Mat(), new cv.Mat()];
      },
      ([a, b, from, to, found, error]) => {
        const until = new cv.TermCriteria(
          cv.TermCriteria_COUNT | cv.TermCriteria_EPS,
          FOLLOW_STEPS,
          FOLLOW_STEP,
        );
        const side = new cv.Size(FOLLOW_SIDE, FOLLOW_SIDE);
        cv.calcOpticalFlowPyrLK(a, b, from, to, found, error, side, 3, until);
        return { points: to.data32F.slice(), found: found.data.slice() };
      },
    );
  }

  /** Draws a line of value 1 and so many pixels thickness into a picture of zeros and ones. */
  drawLine(picture: Picture, from: readonly number[], to: readonly number[], thickness: number): void {
    const { cv } = this;
    this.with(
      () => [this.mat(picture)],
      ([mat]) => {
        const [a, b] = [new cv.Point(from[0], from[1]), new cv.Point(to[0], to[1])];
        cv.line(mat, a, b, new cv.Scalar(1), thickness);
        picture.data.set(mat.data);
      },
    );
  }
}
