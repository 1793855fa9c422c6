/** The worker in which everything is computed, so that the page stays alive. */

import { NotAssessableError } from "../pipeline/process";
import { RefusedError } from "../pipeline/schema";
import { assess } from "./assess";
import { Looker } from "./look";
import type { Reply, Request } from "./messages";
import { loadModels, type Models } from "./models";
import { takeSought } from "./seeking";

const scope = self as unknown as DedicatedWorkerGlobalScope;
let models: Promise<Models> | null = null;
let looker: Looker | null = null;

function tell(reply: Reply): void {
  scope.postMessage(reply);
}

async function answer(request: Request): Promise<void> {
  if (request.kind === "sought") {
    takeSought(request);
    return;
  }
  models ??= loadModels(request.base);
  const loaded = await models;
  if (request.kind === "assess") {
    tell({ kind: "ready", threads: loaded.threads });
    await assess(loaded, request, tell);
  } else {
    looker ??= new Looker(loaded);
    tell({ kind: "look", look: await looker.look(request.picture, request.seconds) });
  }
}

/** Which sentence says what went wrong. */
function refusal(error: unknown): Reply {
  const reply = { kind: "refused" as const, values: {}, reasons: [], quality: null };
  if (error instanceof NotAssessableError)
    return { ...reply, code: error.code, reasons: error.reasons, quality: error.report.means.figures() };
  if (error instanceof RefusedError) return { ...reply, code: error.code, values: error.values };
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const isMemory =
    error instanceof RangeError || /out of memory|allocation|memory access|abort\(/i.test(said);
  return { ...reply, code: isMemory ? "memory" : "unexpected", values: { said } };
}

scope.addEventListener("message", (event: MessageEvent<Request>) => {
  answer(event.data).catch((error: unknown) => tell(refusal(error)));
});
