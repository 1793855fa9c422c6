/** The page's side of the worker. */

import { Seeker } from "./seeker";
import type { Look, Reply, Request, Stages } from "../worker/messages";

type Finished = Extract<Reply, { kind: "result" | "refused" }>;
type Told = Extract<Reply, { kind: "ready" | "progress" | "preview" }>;

const BASE = new URL("./", location.href).href;

/** With `#stages` in the address every stage is kept, to compare with Python's. */
const wantsStages = () => location.hash === "#stages";

declare global {
  interface Window {
    tfgmaStages?: Stages | null;
  }
}

function start(): Worker {
  return new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "classic" });
}

export interface Job {
  finished: Promise<Finished>;
  cancel(): void;
}

function refused(code: string, said = ""): Finished {
  return { kind: "refused", code, values: { said }, reasons: [], quality: null };
}

/** Assesses a file in a worker of its own, which ends with the job: its memory is free then. */
export function assess(file: Blob, name: string, variant: string, tell: (told: Told) => void): Job {
  const worker = start();
  let seeker: Seeker | null = null;
  const finished = new Promise<Finished>((resolve) => {
    worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      if (data.kind === "result" || data.kind === "refused") {
        if (data.kind === "result") window.tfgmaStages = data.stages;
        worker.terminate();
        resolve(data);
      } else if (data.kind === "seek") {
        seeker ??= new Seeker(file);
        void seeker.at(data.seconds, data.longSidePx).then((sought) => worker.postMessage(sought));
      } else if (data.kind !== "look") tell(data);
    });
    worker.addEventListener("error", (event) => {
      worker.terminate();
      // A worker that cannot even start its program lacks a file; one that dies later lacks memory.
      resolve(event.message ? refused("unexpected", event.message) : refused("fileMissing", "worker.js"));
    });
  });
  const request: Request = {
    kind: "assess",
    base: BASE,
    file,
    name,
    variant,
    stages: wantsStages(),
    bySeeking: !("VideoDecoder" in window),
  };
  worker.postMessage(request);
  void finished.then(() => seeker?.close());
  return {
    finished,
    cancel: () => {
      worker.terminate();
      seeker?.close();
    },
  };
}

/** Says what is wrong with a camera's pictures, one at a time. */
export class Guide {
  private readonly worker = start();
  private answer: ((reply: Look | Finished) => void) | null = null;

  constructor() {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      if (data.kind === "look") this.answer?.(data.look);
      if (data.kind === "refused") this.answer?.(data);
    });
  }

  /** What is seen in a picture; null where the networks cannot be loaded. */
  async look(picture: {
    width: number;
    height: number;
    channels: number;
    data: Uint8Array;
  }): Promise<Look | null> {
    const reply = await new Promise<Look | Finished>((resolve) => {
      this.answer = resolve;
      const request: Request = { kind: "look", base: BASE, picture, seconds: performance.now() / 1000 };
      this.worker.postMessage(request, [picture.data.buffer as ArrayBuffer]);
    });
    return "kind" in reply ? null : reply;
  }

  close(): void {
    this.worker.terminate();
  }
}
