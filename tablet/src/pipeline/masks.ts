/** Counting and comparing masks of zeros and ones. */

export function countOnes(mask: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i];
  return count;
}

/** Intersection over union; 0 where both are empty or their sizes differ. */
export function overlap(first: Uint8Array, second: Uint8Array): number {
  if (first.length !== second.length) return 0;
  let [both, either] = [0, 0];
  for (let i = 0; i < first.length; i++) {
    both += first[i] & second[i];
    either += first[i] | second[i];
  }
  return either ? both / either : 0;
}

/** 1 where `values` are over `limit`. */
export function over(values: Float32Array, limit: number): Uint8Array {
  const mask = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) mask[i] = values[i] > limit ? 1 : 0;
  return mask;
}

/** How sure the network is of a mask: mean distance of its pixels from one half, 0..1. */
export function certainty(mask: Float32Array): number {
  let [sum, count] = [0, 0];
  for (let i = 0; i < mask.length; i++)
    if (mask[i] > 0.1) {
      sum += Math.abs(2 * mask[i] - 1);
      count++;
    }
  return count ? sum / count : 0;
}
