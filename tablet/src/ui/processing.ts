/** Progress while a video is assessed. */

import { say } from "../strings";
import { clock, h, type Screen } from "./dom";
import { assess } from "./engine";
import type { Go } from "./main";
import { paintBody } from "./pictures";
import { keep } from "./storage";

const RUNNING = "tfgma-running";

/** Whether the app was closed during an assessment; asked once. */
export function wasInterrupted(): boolean {
  const interrupted = localStorage.getItem(RUNNING) !== null;
  localStorage.removeItem(RUNNING);
  return interrupted;
}

export function processScreen(go: Go, file: Blob, name: string, variant: string, keepVideo: boolean): Screen {
  const canvas = h("canvas", { class: "preview", role: "img", "aria-label": say("previewLabel") });
  const bar = h("progress", { max: 1, value: 0, "aria-label": say("progress") });
  const text = h("p", { role: "status" }, say("processLoading"));
  const left = h("p", { class: "quiet" });
  const found = h("p", { class: "quiet" });
  const begun = performance.now();
  localStorage.setItem(RUNNING, name);
  const awake = stayAwake();
  let lastSaid = 0;
  const job = assess(file, name, variant, (told) => {
    if (told.kind === "preview") {
      paintBody(canvas, told.picture, told.mask, told.joints);
      found.textContent = say(told.mask ? "processFound" : "processNotFound");
    }
    if (told.kind === "progress" && told.total > 0) {
      const share = Math.min(1, told.seconds / told.total);
      bar.value = share;
      const passed = (performance.now() - begun) / 1000;
      // A screen reader should not be told six times a second.
      if (passed - lastSaid < 2 && lastSaid > 0) return;
      lastSaid = passed;
      text.textContent = say("processSeconds", {
        done: Math.round(told.seconds),
        total: Math.round(told.total),
      });
      if (share > 0.05)
        left.textContent = say("processLeft", { left: clock((passed / share) * (1 - share)) });
    }
  });
  let isOver = false;
  const end = () => {
    isOver = true;
    localStorage.removeItem(RUNNING);
    awake.release();
  };
  void job.finished.then(async (reply) => {
    if (isOver) return;
    end();
    if (reply.kind === "refused") {
      go.refused(reply.code, reply.values, reply.reasons);
      return;
    }
    try {
      await keep(reply.result, keepVideo ? file : null);
    } catch {
      // A full disk or a private window keeps no history; the result is shown all the same.
    }
    go.result(reply.result, file);
  });
  return {
    title: say("processTitle"),
    isBusy: true,
    content: [
      canvas,
      bar,
      text,
      left,
      found,
      h("p", { class: "quiet" }, say("processStay")),
      h(
        "div",
        { class: "actions" },
        h(
          "button",
          {
            type: "button",
            onclick: () => {
              end();
              job.cancel();
              go.choose();
            },
          },
          say("cancel"),
        ),
      ),
    ],
    leave: () => {
      if (!isOver) {
        end();
        job.cancel();
      }
    },
  };
}

/** Keeps the screen on where the browser can; asked again when the app comes back. */
function stayAwake(): { release(): void } {
  let lock: WakeLockSentinel | null = null;
  let isOver = false;
  const ask = async () => {
    if (isOver || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    try {
      lock = await navigator.wakeLock.request("screen");
    } catch {
      // A low battery forbids it.
    }
  };
  document.addEventListener("visibilitychange", ask);
  void ask();
  return {
    release: () => {
      isOver = true;
      document.removeEventListener("visibilitychange", ask);
      void lock?.release();
    },
  };
}
