/** The part of OpenCV's build for browsers that is used. */

export interface Mat {
  rows: number;
  cols: number;
  data: Uint8Array;
  data16S: Int16Array;
  data16U: Uint16Array;
  data32F: Float32Array;
  channels(): number;
  delete(): void;
}

type Value = unknown;

export interface CV {
  Mat: {
    new (rows?: number, cols?: number, type?: number): Mat;
    ones(rows: number, cols: number, type: number): Mat;
  };
  Size: new (width: number, height: number) => Value;
  Scalar: new (...values: number[]) => Value;
  Point: new (x: number, y: number) => Value;
  TermCriteria: new (type: number, steps: number, step: number) => Value;
  CV_8UC1: number;
  CV_8UC3: number;
  CV_16UC1: number;
  CV_16SC2: number;
  CV_32FC2: number;
  CV_64F: number;
  INTER_LINEAR: number;
  INTER_AREA: number;
  WARP_INVERSE_MAP: number;
  BORDER_CONSTANT: number;
  COLOR_RGB2GRAY: number;
  MORPH_ELLIPSE: number;
  TermCriteria_COUNT: number;
  TermCriteria_EPS: number;
  matFromArray(rows: number, cols: number, type: number, values: number[]): Mat;
  warpAffine(from: Mat, to: Mat, matrix: Mat, size: Value, flags: number, border: number, value: Value): void;
  remap(
    from: Mat,
    to: Mat,
    pixels: Mat,
    parts: Mat,
    interpolation: number,
    border: number,
    value: Value,
  ): void;
  cvtColor(from: Mat, to: Mat, code: number): void;
  resize(from: Mat, to: Mat, size: Value, fx: number, fy: number, interpolation: number): void;
  blur(from: Mat, to: Mat, size: Value): void;
  dilate(from: Mat, to: Mat, kernel: Mat): void;
  getStructuringElement(shape: number, size: Value): Mat;
  cornerMinEigenVal(from: Mat, to: Mat, block: number, aperture: number): void;
  line(mat: Mat, from: Value, to: Value, color: Value, thickness: number): void;
  calcOpticalFlowFarneback(
    first: Mat,
    second: Mat,
    flow: Mat,
    pyrScale: number,
    levels: number,
    winSize: number,
    iterations: number,
    polyN: number,
    polySigma: number,
    flags: number,
  ): void;
  calcOpticalFlowPyrLK(
    first: Mat,
    second: Mat,
    from: Mat,
    to: Mat,
    found: Mat,
    error: Mat,
    side: Value,
    levels: number,
    until: Value,
  ): void;
}
