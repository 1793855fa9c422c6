/** Pictures of a video at given times by the browser's player, where it has no WebCodecs. */

import { withoutAlpha, workingSize } from "../pipeline/pixels";
import type { Request } from "../worker/messages";
import { h } from "./dom";

type Sought = Extract<Request, { kind: "sought" }>;

/** A player that does not come to a picture in this time never will. */
const PATIENCE_MILLISECONDS = 10_000;

export class Seeker {
  private readonly address: string;
  private readonly video: HTMLVideoElement;
  private readonly canvas = h("canvas");
  private readonly opened: Promise<boolean>;

  constructor(file: Blob) {
    this.address = URL.createObjectURL(file);
    this.video = h("video", { playsinline: true, preload: "auto" });
    this.video.muted = true;
    this.opened = this.event("loadeddata");
    this.video.src = this.address;
  }

  /** The picture that stands at `seconds`, with its own time where the browser tells it; null where there is none. */
  async at(seconds: number, longSidePx: number): Promise<Sought> {
    const { video } = this;
    const nothing: Sought = { kind: "sought", picture: null, seconds, total: 0 };
    if (!(await this.opened) || !video.videoWidth) return nothing;
    const total = video.duration;
    if (seconds > total) return { ...nothing, total };
    let own = seconds;
    const shown =
      "requestVideoFrameCallback" in video
        ? new Promise<void>((resolve) => {
            video.requestVideoFrameCallback((_, { mediaTime }) => {
              own = mediaTime;
              resolve();
            });
            // Where the same picture stays, none is shown anew.
            setTimeout(resolve, 150);
          })
        : Promise.resolve();
    const sought = this.event("seeked");
    video.currentTime = seconds;
    if (!(await sought)) return { ...nothing, total };
    await shown;
    const size = workingSize(video.videoWidth, video.videoHeight, longSidePx);
    Object.assign(this.canvas, size);
    const context = this.canvas.getContext("2d", { willReadFrequently: true })!;
    context.drawImage(video, 0, 0, size.width, size.height);
    const { data } = context.getImageData(0, 0, size.width, size.height);
    return { kind: "sought", picture: withoutAlpha(data, size), seconds: own, total };
  }

  close(): void {
    this.video.removeAttribute("src");
    URL.revokeObjectURL(this.address);
  }

  private event(name: "loadeddata" | "seeked"): Promise<boolean> {
    return new Promise((resolve) => {
      this.video.addEventListener(name, () => resolve(true), { once: true });
      this.video.addEventListener("error", () => resolve(false), { once: true });
      setTimeout(() => resolve(false), PATIENCE_MILLISECONDS);
    });
  }
}
