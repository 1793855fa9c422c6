import type { Reply } from "../worker/messages";
const worker = new Worker(new URL("../worker/worker.ts", import.meta.url), { type: "classic" });
(window as unknown as Record<string, unknown>).assess = (file: Blob, name: string, variant: string) =>
  new Promise((resolve) => {
    worker.onmessage = (event: MessageEvent<Reply>) => {
      if (event.data.kind === "result" || event.data.kind === "refused") resolve(event.data);
    };
    worker.postMessage({ kind: "assess", base: new URL("./", location.href).href, file, name, variant, stages: true });
  });
