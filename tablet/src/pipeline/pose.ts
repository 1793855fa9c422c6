/** The body in a frame: its mask and its joints, whatever direction it lies in (pipelines/pose.py). */

import { Bystanders } from "./bystanders";
import { certainty, countOnes, over, overlap } from "./masks";
import { MIN_TORSO_SCORE, type Person, type PoseFiles, PoseNetworks, torsoScore } from "./poseNetwork";
import { JOINTS, MASK_SCORE } from "./schema";
import { distinct, type Square } from "./squares";
import type { Picture, Vision } from "./vision";

const MIN_OVERLAP = 0.3;
const FORGET_AFTER = 18;
const MIN_DETECTION = 0.3;
const MIN_AGREEMENT = 0.5;
const MOST_CANDIDATES = 4;
const MOST_CAREFUL = 2;
const STILL_CUTOFF_HZ = 0.05;
const SPEED_WEIGHT = 80;
const SPEED_CUTOFF_HZ = 1;
const SPREAD_JOINTS = JOINTS.map((_, index) => index).filter((index) => !/eye|mouth/.test(JOINTS[index]));

/** A body found in a frame. */
export interface Body {
  /** 1 on the body, without what others cover. */
  mask: Uint8Array;
  /** [x, y, score] in pixels of the frame. */
  joints: [number, number, number][];
  /** That each joint lies inside the picture, 0..1. */
  presence: Float32Array;
  /** How sure the network is of the mask, 0..1. */
  certainty: number;
  people: number;
  hands: number;
  /** Share of the body that others hide or hold. */
  covered: number;
}

/** Finds a body in the first frame and follows it through the others. */
export class BodyFinder {
  private readonly networks: PoseNetworks;
  private readonly bystanders: Bystanders;
  private square: Square | null = null;
  private smoother = new JointSmoother();
  private lastMask: Uint8Array | null = null;
  private missed = 0;

  constructor(
    files: PoseFiles,
    vision: Vision,
    private readonly minScore: number,
  ) {
    this.networks = new PoseNetworks(files, vision);
    this.bystanders = new Bystanders(this.networks, files.palms);
  }

  /** Forgets the last video's body. */
  restart(): void {
    this.bystanders.restart();
    this.square = null;
    this.smoother = new JointSmoother();
    this.lastMask = null;
    this.missed = 0;
  }

  /** The body in a frame at `seconds` of its video. */
  async find(frame: Picture, seconds: number): Promise<Body | null> {
    let readings: Person[] | null = null;
    let person = await this.follow(frame);
    let mask = person && this.maskOf(person, frame);
    if (!person) {
      readings = [];
      const found = await this.networks.detectAll(frame, MIN_DETECTION);
      for (const square of distinct(found.map((one) => one.square)).slice(0, MOST_CANDIDATES))
        readings.push(await this.networks.read(frame, square));
      person = await this.mainBody(frame, readings);
      if (person) {
        mask = await this.steadyMask(frame, person);
        if (this.lastMask && overlap(over(mask, MASK_SCORE), this.lastMask) < MIN_OVERLAP) person = null;
      }
    }
    if (!person || !mask) {
      this.square = null;
      this.smoother = new JointSmoother();
      this.missed++;
      if (this.missed >= FORGET_AFTER) this.restart();
      return null;
    }
    const others = await this.bystanders.look(frame, seconds, person, readings);
    const whole = over(mask, MASK_SCORE);
    const { cover } = others;
    const sure = mask;
    const own = cover ? whole.map((one, i) => one & Number(sure[i] > cover[i])) : whole;
    const places = this.smoother.smooth(person.joints, seconds, person.square.sidePx);
    this.square = person.nextSquare;
    this.lastMask = whole;
    this.missed = 0;
    return {
      mask: own,
      joints: places.map(([x, y], n) => [Math.fround(x), Math.fround(y), person.joints[n][2]]),
      presence: person.presence,
      certainty: certainty(mask),
      people: others.people,
      hands: others.hands,
      covered: 1 - countOnes(own) / Math.max(1, countOnes(whole)),
    };
  }

  private async follow(frame: Picture): Promise<Person | null> {
    if (!this.square) return null;
    const person = await this.networks.read(frame, this.square);
    return this.isBelieved(person) ? person : null;
  }

  /** The main body, read with care where these `first` readings point. */
  private async mainBody(frame: Picture, first: readonly Person[]): Promise<Person | null> {
    const best = [...first].sort((a, b) => prominence(b) - prominence(a));
    const again: Person[] = [];
    for (const square of distinct(best.map((person) => person.nextSquare)).slice(0, MOST_CAREFUL))
      again.push(await this.networks.readCarefully(frame, square));
    const people = again.filter((person) => this.isBelieved(person));
    if (!people.length) return null;
    const main = over(this.maskOf(largestBy(people, prominence), frame), MASK_SCORE);
    const same = people.filter(
      (one) => overlap(over(this.maskOf(one, frame), MASK_SCORE), main) >= MIN_AGREEMENT,
    );
    return largestBy(same, (one) => certainty(one.mask.data));
  }

  /** The mean with a reading in a mirror, in pixels of the frame. */
  private async steadyMask(frame: Picture, person: Person): Promise<Float32Array> {
    const mirrored = await this.networks.mirroredMask(frame, person.nextSquare);
    return this.maskOf(person, frame).map((value, i) => (value + mirrored.data[i]) / 2);
  }

  private maskOf(person: Person, frame: Picture): Float32Array {
    return this.networks.maskInFrame(person.mask, person.square, frame.width, frame.height).data;
  }

  private isBelieved(person: Person): boolean {
    return person.score >= this.minScore && torsoScore(person) >= MIN_TORSO_SCORE;
  }
}

/** The first of the largest. */
function largestBy<T>(items: readonly T[], value: (item: T) => number): T {
  return items.reduce((best, item) => (value(item) > value(best) ? item : best));
}

/** How much a person is the one that is filmed: all there, large, and clear. */
function prominence(person: Person): number {
  const area =
    (countOnes(over(person.mask.data, MASK_SCORE)) / person.mask.data.length) * person.square.sidePx ** 2;
  const present =
    SPREAD_JOINTS.reduce((sum, index) => sum + person.presence[index], 0) / SPREAD_JOINTS.length;
  return certainty(person.mask.data) * present * Math.sqrt(area);
}

/** The 1 euro filter: slow joints are steadied, fast ones are left alone (Casiez et al., CHI 2012). */
export class JointSmoother {
  private last: { seconds: number; places: number[][]; velocity: number[][] } | null = null;

  smooth(places: readonly (readonly number[])[], seconds: number, scalePx: number): number[][] {
    const given = places.map(([x, y]) => [x, y]);
    if (!this.last || seconds <= this.last.seconds) {
      this.last = { seconds, places: given, velocity: given.map(() => [0, 0]) };
      return given;
    }
    const before = this.last;
    const passed = seconds - before.seconds;
    const share = stepShare(SPEED_CUTOFF_HZ, passed);
    const velocity = before.velocity.map((old, n) =>
      old.map((v, axis) => v + share * ((given[n][axis] - before.places[n][axis]) / passed - v)),
    );
    const smoothed = before.places.map((old, n) => {
      const speed = Math.hypot(velocity[n][0], velocity[n][1]) / scalePx;
      const step = stepShare(STILL_CUTOFF_HZ + SPEED_WEIGHT * speed, passed);
      return old.map((p, axis) => p + step * (given[n][axis] - p));
    });
    this.last = { seconds, places: smoothed, velocity };
    return smoothed;
  }
}

/** How much of a step a low-pass filter takes after so much time. */
function stepShare(cutoffHz: number, seconds: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoffHz * seconds));
}
