/** Everybody in a frame but the subject: other people, and hands that reach in (pipelines/bystanders.py). */

import { anchors, detections, groups, meanPoint } from "./detectors";
import { countOnes, over } from "./masks";
import type { Network } from "./network";
import { MIN_TORSO_SCORE, type Person, type PoseNetworks, sizeOf, torsoScore, unit } from "./poseNetwork";
import { joint, MASK_SCORE, roundHalfEven } from "./schema";
import { isLike, type Point, pointInFrame, type Square } from "./squares";
import type { Picture, Vision } from "./vision";

/** Somebody new is looked for so often. */
const LOOK_EVERY_SECONDS = 3;
const MIN_PERSON_SCORE = 0.5;
const MIN_DETECTION = 0.5;
const MIN_PALM_SCORE = 0.7;
/** Somebody whose mask lies in the subject's to this share, or covers it so, is the subject read again. */
const SAME_PERSON = 0.4;
const LARGEST_OWN_PALM = 0.09;
const OWN_HAND_REACH = 0.06;
const OWN_FOOT_REACH = 0.1;
const OWN_FACE_REACH = 0.12;
const FINGERS = 0.9;
const FOREARM = 3.0;
const PALM_CELLS = [
  [24, 2],
  [12, 6],
] as const;
const WRIST = 0;
const MIDDLE_KNUCKLE = 2;
const HANDS = (["left_wrist", "left_index", "right_wrist", "right_index"] as const).map(joint);
const FEET = (["left_ankle", "left_foot_index", "right_ankle", "right_foot_index"] as const).map(joint);
const FACE = (["nose", "left_ear", "right_ear"] as const).map(joint);

export interface Others {
  people: number;
  hands: number;
  /** How surely a pixel of the frame is theirs, 0..1; null of nobody. */
  cover: Float32Array | null;
}

interface Palm {
  center: Point;
  wrist: Point;
  knuckle: Point;
  sidePx: number;
}

/** MediaPipe's palm detector (pipelines/palm_network.py). */
class PalmNetwork {
  private readonly anchorPoints = anchors(PALM_CELLS);

  constructor(
    private readonly network: Network,
    private readonly vision: Vision,
  ) {}

  async detect(frame: Picture, square: Square, minScore: number): Promise<Palm[]> {
    const size = sizeOf(this.network);
    const answers = await this.network.run(unit(this.vision.cut(frame, square, size)));
    return groups(detections(answers, this.anchorPoints, size, minScore)).map((group) => {
      const at = (place: number): Point => {
        const [x, y] = meanPoint(group, place);
        return pointInFrame(square, [x * size, y * size], size);
      };
      const box = meanPoint(group, 1);
      return {
        center: at(0),
        wrist: at(2 + WRIST),
        knuckle: at(2 + MIDDLE_KNUCKLE),
        sidePx: Math.max(...box) * square.sidePx,
      };
    });
  }
}

/** Looks for others now and then, and follows whom it has seen. */
export class Bystanders {
  private readonly palms: PalmNetwork | null;
  private squares: Square[] = [];
  private handsNear = false;
  private nextLook = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly networks: PoseNetworks,
    palms: Network | null,
  ) {
    this.palms = palms && new PalmNetwork(palms, networks.vision);
  }

  restart(): void {
    this.squares = [];
    this.handsNear = false;
    this.nextLook = Number.NEGATIVE_INFINITY;
  }

  /** Who else is in a frame; `readings`: everybody in it, where the caller has looked already. */
  async look(frame: Picture, seconds: number, subject: Person, readings: Person[] | null): Promise<Others> {
    const due = readings !== null || seconds >= this.nextLook;
    const squares = [...this.squares];
    if (due) {
      this.nextLook = seconds + LOOK_EVERY_SECONDS;
      if (readings === null)
        squares.push(...(await this.networks.detectAll(frame, MIN_DETECTION)).map((one) => one.square));
    }
    const people = await this.people(frame, subject, squares, readings ?? []);
    this.squares = people.map((person) => person.nextSquare);
    let hands: Palm[] = [];
    if (this.palms && (due || this.handsNear))
      hands = foreignPalms(await this.palms.detect(frame, subject.square, MIN_PALM_SCORE), subject);
    this.handsNear = hands.length > 0;
    if (!people.length && !hands.length) return { people: 0, hands: 0, cover: null };
    const cover = new Float32Array(frame.width * frame.height);
    for (const person of people) keepLargest(cover, this.mask(person, frame));
    for (const palm of hands) keepLargest(cover, armCover(this.networks.vision, palm, frame));
    return { people: people.length, hands: hands.length, cover };
  }

  private mask(person: Person, frame: Picture): Float32Array {
    return this.networks.maskInFrame(person.mask, person.square, frame.width, frame.height).data;
  }

  private async people(
    frame: Picture,
    subject: Person,
    squares: readonly Square[],
    readings: readonly Person[],
  ): Promise<Person[]> {
    const known: Uint8Array[] = [];
    const people: Person[] = [];
    const read = new Map(readings.map((one) => [one.square, one]));
    for (const square of [...squares, ...read.keys()]) {
      if (isLike(square, subject.square) || people.some((one) => isLike(square, one.square))) continue;
      const person = read.get(square) ?? (await this.networks.read(frame, square));
      if (person.score < MIN_PERSON_SCORE || torsoScore(person) < MIN_TORSO_SCORE) continue;
      if (!known.length) known.push(over(this.mask(subject, frame), MASK_SCORE));
      const mask = over(this.mask(person, frame), MASK_SCORE);
      if (countOnes(mask) && !known.some((one) => isSame(mask, one))) {
        people.push(person);
        known.push(mask);
      }
    }
    return people;
  }
}

function isSame(first: Uint8Array, second: Uint8Array): boolean {
  let shared = 0;
  for (let i = 0; i < first.length; i++) shared += first[i] & second[i];
  return shared >= SAME_PERSON * Math.min(countOnes(first), countOnes(second));
}

function keepLargest(into: Float32Array, other: Float32Array | Uint8Array): void {
  for (let i = 0; i < into.length; i++) if (other[i] > into[i]) into[i] = other[i];
}

/** Palms that are not the subject's: too large, or too far from where its own hands are. */
function foreignPalms(palms: readonly Palm[], subject: Person): Palm[] {
  const side = subject.square.sidePx;
  return palms.filter((palm) => {
    const near = (joints: readonly number[]) =>
      Math.min(
        ...joints.map((index) => {
          const [x, y] = subject.joints[index];
          return Math.hypot(x - palm.center[0], y - palm.center[1]);
        }),
      ) / side;
    return (
      near(FACE) > OWN_FACE_REACH &&
      (palm.sidePx > LARGEST_OWN_PALM * side || (near(HANDS) > OWN_HAND_REACH && near(FEET) > OWN_FOOT_REACH))
    );
  });
}

/** 1 on the hand with its forearm, which goes on beyond the wrist; else 0. */
function armCover(vision: Vision, palm: Palm, frame: Picture): Uint8Array {
  const { width, height } = frame;
  const cover = { width, height, channels: 1, data: new Uint8Array(width * height) };
  const along = [palm.knuckle[0] - palm.wrist[0], palm.knuckle[1] - palm.wrist[1]];
  const line = (start: Point, end: Point, thickness: number) =>
    vision.drawLine(
      cover,
      start.map(roundHalfEven),
      end.map(roundHalfEven),
      Math.max(1, roundHalfEven(thickness)),
    );
  const beyond = (from: Point, share: number): Point => [
    from[0] + share * along[0],
    from[1] + share * along[1],
  ];
  line(beyond(palm.knuckle, FINGERS), palm.wrist, 0.9 * palm.sidePx);
  line(palm.wrist, beyond(palm.wrist, -FOREARM), 0.75 * palm.sidePx);
  return cover.data;
}
