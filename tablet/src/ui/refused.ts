/** What went wrong, in one sentence, and what to do. */

import type { Reason } from "../pipeline/quality";
import { say, sayRefusal } from "../strings";
import { h, type Screen } from "./dom";
import type { Go } from "./main";
import { why } from "./report";

const OF_THE_VIDEO = ["notAssessable", "noBody", "noTorso", "turns", "tooShort", "slowVideo"];

export function refusedScreen(
  go: Go,
  code: string,
  values: Record<string, string | number>,
  reasons: readonly Reason[],
): Screen {
  return {
    title: say(OF_THE_VIDEO.includes(code) ? "notAssessableTitle" : "refusedTitle"),
    content: [
      h("p", { class: "warning", role: "alert", id: "refusal", "data-code": code }, sayRefusal(code, values)),
      ...(reasons.length ? [h("ul", {}, ...reasons.map((reason) => h("li", {}, why(reason))))] : []),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "main", type: "button", onclick: () => go.choose() }, say("tryAgain")),
      ),
    ],
  };
}
