/** Stores the app on the device, so that it works without a network. */

export type Stored =
  { state: "storing"; done: number; total: number } | { state: "stored" } | { state: "failed" };

const RELOADED = "tfgma-reloaded";

/** Tells how far it is; ends with stored or failed. */
export async function install(tell: (stored: Stored) => void): Promise<void> {
  if (!("serviceWorker" in navigator)) {
    tell({ state: "failed" });
    return;
  }
  navigator.serviceWorker.addEventListener("message", ({ data }: MessageEvent) => {
    if (data?.kind === "stored") tell({ state: "storing", done: data.done, total: data.total });
  });
  try {
    const registration = await navigator.serviceWorker.register("./sw.js");
    const waiting = registration.installing;
    if (waiting)
      await new Promise<void>((resolve, reject) => {
        waiting.addEventListener("statechange", () => {
          if (waiting.state === "activated") resolve();
          if (waiting.state === "redundant") reject(new Error("not stored"));
        });
      });
    await navigator.serviceWorker.ready;
    tell({ state: "stored" });
    guardThisPage();
  } catch {
    tell({ state: navigator.serviceWorker.controller ? "stored" : "failed" });
  }
}

/** A page that came without the headers of the service worker is asked for again, once. */
function guardThisPage(): void {
  if (globalThis.crossOriginIsolated || sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, "1");
  location.reload();
}
