/** Records one to three minutes, with a guide to framing. */

import { withoutAlpha } from "../pipeline/pixels";
import { say } from "../strings";
import type { Key } from "../strings/en";
import type { Look } from "../worker/messages";
import { h, type Screen } from "./dom";
import { Guide } from "./engine";
import type { Go } from "./main";

const LEAST_SECONDS = 60;
const MOST_SECONDS = 180;
const LOOK_EVERY_MILLISECONDS = 800;
const LOOK_SIDE = 320;
const BITS_PER_SECOND = 4_000_000;
const TYPES = ["video/mp4;codecs=avc1.42E01F", "video/mp4", "video/webm;codecs=vp8", "video/webm"];
const CAMERA = {
  video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
  audio: false,
};

/** The first thing to put right; `hintGood` where there is none. */
export function hintFor(look: Look): Key {
  if (look.brightness < 0.15) return "hintDark";
  if (look.brightness > 0.95) return "hintBright";
  if (!look.found) return "hintNobody";
  if (look.people) return "hintSeveral";
  if (look.visible < 0.8) return "hintFarther";
  if (look.span < 0.45) return "hintCloser";
  return look.sharpness < 0.3 ? "hintBlurred" : "hintGood";
}

export function recordScreen(go: Go, variant: string, keepVideo: boolean): Screen {
  const video = h("video", { playsinline: true, muted: true, autoplay: true, class: "camera" });
  video.muted = true;
  const hint = h("p", { class: "hint", role: "status", id: "hint" }, say("recordWait"));
  const timer = h("p", { class: "quiet", role: "timer" });
  const button = h("button", { class: "main", type: "button", disabled: true }, say("recordStart"));
  let stream: MediaStream | null = null;
  let recorder: MediaRecorder | null = null;
  let guide: Guide | null = null;
  let ticking: ReturnType<typeof setInterval> | undefined;
  let isOver = false;

  async function begin(): Promise<void> {
    try {
      stream = await navigator.mediaDevices.getUserMedia(CAMERA);
    } catch {
      hint.textContent = say("noCamera");
      return;
    }
    if (isOver) {
      stop(stream);
      return;
    }
    video.srcObject = stream;
    await video.play().catch(() => {});
    button.disabled = false;
    hint.textContent = say("processLoading");
    guide = new Guide();
    void watch(guide);
  }

  async function watch(looking: Guide): Promise<void> {
    while (!isOver) {
      const picture = grab(video);
      // While it records, the processor is the camera's.
      if (picture && recorder?.state !== "recording") {
        const look = await looking.look(picture);
        if (look && !isOver) hint.textContent = say(hintFor(look));
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MILLISECONDS));
    }
  }

  button.addEventListener("click", () => {
    if (!stream) return;
    if (recorder?.state === "recording") {
      recorder.stop();
      return;
    }
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
    const parts: Blob[] = [];
    const begun = performance.now();
    recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: BITS_PER_SECOND });
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => {
      clearInterval(ticking);
      if (isOver) return;
      const kind = mimeType.split(";")[0];
      const name = `${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${kind.split("/")[1]}`;
      go.process(new Blob(parts, { type: kind }), name, variant, keepVideo);
    });
    recorder.start(1000);
    button.textContent = say("recordStop");
    ticking = setInterval(() => {
      const seconds = Math.floor((performance.now() - begun) / 1000);
      timer.textContent = say("recordLeft", { seconds, least: LEAST_SECONDS, most: MOST_SECONDS });
      if (seconds >= MOST_SECONDS && recorder?.state === "recording") recorder.stop();
    }, 500);
  });

  void begin();
  return {
    title: say("recordTitle"),
    isBusy: true,
    content: [
      hint,
      h("div", { class: "viewfinder" }, video, outline()),
      timer,
      h(
        "div",
        { class: "actions" },
        button,
        h("button", { type: "button", onclick: () => go.choose() }, say("back")),
      ),
    ],
    leave: () => {
      isOver = true;
      clearInterval(ticking);
      if (recorder?.state === "recording") recorder.stop();
      if (stream) stop(stream);
      guide?.close();
    },
  };
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** A small picture of what the camera sees. */
function grab(video: HTMLVideoElement) {
  const { videoWidth, videoHeight } = video;
  if (!videoWidth) return null;
  const scale = LOOK_SIDE / Math.max(videoWidth, videoHeight);
  const size = { width: Math.round(videoWidth * scale), height: Math.round(videoHeight * scale) };
  const canvas = h("canvas", size);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(video, 0, 0, size.width, size.height);
  return withoutAlpha(context.getImageData(0, 0, size.width, size.height).data, size);
}

/** Where the body should lie. */
function outline(): SVGSVGElement {
  const name = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(name, "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("class", "outline");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(name, "path");
  path.setAttribute(
    "d",
    "M50 8a11 12 0 1 1-.1 0ZM39 32C28 34 20 42 14 52M61 32c11 2 19 10 25 20M38 34c-3 12-2 22 0 32M62 34c3 12 2 22 0 32M38 66c-6 8-8 16-8 26M62 66c6 8 8 16 8 26M50 70c-2 6-4 14-6 22M50 70c2 6 4 14 6 22",
  );
  svg.append(path);
  return svg;
}
