/** A TFLite file behind named or single inputs; the runtime that runs it is given. */

/** One answer of a network, without the batch axis. */
export interface Answer {
  name: string;
  shape: number[];
  values: Float32Array;
}

/** Runs a TFLite file: inputs by name, or one alone. */
export interface Network {
  inputs: { name: string; shape: number[] }[];
  run(inputs: Float32Array | Record<string, Float32Array>): Promise<Answer[]>;
}
