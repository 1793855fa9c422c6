/** Results that are kept on this device. */

import { UNCERTAIN } from "../pipeline/verdict";
import { language, say } from "../strings";
import { h, type Screen } from "./dom";
import type { Go } from "./main";
import { forget, forgetAll, type Kept, keptResults } from "./storage";

export function historyScreen(go: Go): Screen {
  const list = h("ul", { class: "cards", id: "kept" });
  const all = h(
    "button",
    {
      type: "button",
      class: "danger",
      onclick: async () => {
        if (!confirm(say("historyDeleteAllSure"))) return;
        await forgetAll();
        void fill();
      },
    },
    say("historyDeleteAll"),
  );

  async function fill(): Promise<void> {
    const kept = await keptResults().catch(() => []);
    all.hidden = !kept.length;
    list.replaceChildren(...(kept.length ? kept.map(card) : [h("li", {}, say("historyEmpty"))]));
  }

  function card(one: Kept): HTMLElement {
    const { result, video } = one;
    const answer = result.verdict.answer === UNCERTAIN ? say("resultUncertain") : result.verdict.answer;
    const when = new Date(result.at).toLocaleString(language());
    return h(
      "li",
      {},
      h("strong", {}, answer),
      h("span", {}, result.video),
      h("span", { class: "quiet" }, video ? `${when}, ${say("historyHasVideo")}` : when),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => go.result(result, video) }, say("historyOpen")),
        h(
          "button",
          {
            type: "button",
            class: "danger",
            onclick: async () => {
              if (!confirm(say("historyDeleteSure"))) return;
              await forget(one.id);
              void fill();
            },
          },
          say("historyDelete"),
        ),
      ),
    );
  }

  void fill();
  return {
    title: say("historyTitle"),
    content: [
      list,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => go.choose() }, say("back")),
        all,
      ),
    ],
  };
}
