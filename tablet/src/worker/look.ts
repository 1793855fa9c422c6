/** What the framing guide says of a camera's picture: is a body there, large enough, in light. */

import type { BodyFinder } from "../pipeline/pose";
import { frameFigures } from "../pipeline/quality";
import type { Picture, Vision } from "../pipeline/vision";
import type { Look } from "./messages";
import type { Models } from "./models";

export class Looker {
  private readonly finder: BodyFinder;
  private readonly vision: Vision;

  constructor(models: Models) {
    this.finder = models.finder;
    this.vision = models.vision;
    this.finder.restart();
  }

  async look(picture: Picture, seconds: number): Promise<Look> {
    const body = await this.finder.find(picture, seconds);
    const grey = this.vision.grey(picture);
    const brightness = grey.data.reduce((sum, value) => sum + value, 0) / grey.data.length / 255;
    if (!body) return { found: false, people: 0, span: 0, visible: 0, brightness, sharpness: 0, joints: [] };
    const figures = frameFigures(this.vision, picture, body, null);
    const range = (values: number[]) => Math.max(...values) - Math.min(...values);
    const span = Math.max(
      range(body.joints.map(([x]) => x)) / picture.width,
      range(body.joints.map(([, y]) => y)) / picture.height,
    );
    return {
      found: true,
      people: body.people + body.hands,
      span,
      visible: figures.visible,
      brightness: figures.brightness,
      sharpness: figures.sharpness,
      joints: body.joints,
    };
  }
}
