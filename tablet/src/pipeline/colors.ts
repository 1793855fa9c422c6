/** Which colours an H.264 stream names, from its own header: browsers do not tell a name from a guess. */

/** Profiles whose header tells more of the pixels. */
const HIGH_PROFILES = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);
const EXTENDED_ASPECT = 255;

/** Names as browsers give them, by the standard's numbers (ITU-T H.273). */
const MATRICES: Record<number, string> = {
  1: "bt709",
  5: "bt470bg",
  6: "smpte170m",
  9: "bt2020-ncl",
  10: "bt2020-ncl",
};

/** The matrix that an avcC record's first header names; null where it names none or cannot be read. */
export function matrixOfAvc(record: Uint8Array): string | null {
  if (record.length < 8 || record[0] !== 1 || (record[5] & 31) === 0) return null;
  const length = (record[6] << 8) | record[7];
  try {
    const number = matrixOfHeader(new Bits(withoutPadding(record.subarray(9, 8 + length))));
    return number === null ? null : (MATRICES[number] ?? null);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** Without the bytes that keep the header free of start codes. */
function withoutPadding(bytes: Uint8Array): Uint8Array {
  const kept: number[] = [];
  for (let i = 0; i < bytes.length; i++)
    if (!(bytes[i] === 3 && i >= 2 && bytes[i - 1] === 0 && bytes[i - 2] === 0)) kept.push(bytes[i]);
  return Uint8Array.from(kept);
}

class Bits {
  private place = 0;

  constructor(private readonly bytes: Uint8Array) {}

  take(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.place++) {
      if (this.place >= 8 * this.bytes.length) throw new RangeError("the header ends early");
      value = 2 * value + ((this.bytes[this.place >> 3] >> (7 - (this.place & 7))) & 1);
    }
    return value;
  }

  /** An Exp-Golomb code. */
  number(): number {
    let zeros = 0;
    while (!this.take(1)) zeros++;
    return 2 ** zeros - 1 + this.take(zeros);
  }

  signed(): number {
    const code = this.number();
    return code % 2 ? (code + 1) / 2 : -code / 2;
  }
}

/** The sequence header up to its matrix (ITU-T H.264, 7.3.2.1.1 and E.1.1). */
function matrixOfHeader(bits: Bits): number | null {
  const profile = bits.take(8);
  bits.take(16);
  bits.number();
  if (HIGH_PROFILES.has(profile)) skipHighProfile(bits);
  bits.number();
  const order = bits.number();
  if (order === 0) bits.number();
  else if (order === 1) {
    bits.take(1);
    bits.signed();
    bits.signed();
    for (let left = bits.number(); left > 0; left--) bits.signed();
  }
  bits.number();
  bits.take(1);
  bits.number();
  bits.number();
  if (!bits.take(1)) bits.take(1);
  bits.take(1);
  if (bits.take(1)) for (let side = 0; side < 4; side++) bits.number();
  if (!bits.take(1)) return null;
  if (bits.take(1) && bits.take(8) === EXTENDED_ASPECT) bits.take(32);
  if (bits.take(1)) bits.take(1);
  if (!bits.take(1)) return null;
  bits.take(4);
  if (!bits.take(1)) return null;
  bits.take(16);
  return bits.take(8);
}

function skipHighProfile(bits: Bits): void {
  const chroma = bits.number();
  if (chroma === 3) bits.take(1);
  bits.number();
  bits.number();
  bits.take(1);
  if (!bits.take(1)) return;
  for (let list = 0; list < (chroma === 3 ? 12 : 8); list++) {
    if (!bits.take(1)) continue;
    let [last, next] = [8, 8];
    for (let i = 0; i < (list < 6 ? 16 : 64); i++) {
      if (next) next = (last + bits.signed() + 256) % 256;
      last = next || last;
    }
  }
}
