/** What the app is and is not, and that everybody agrees. */

import { say } from "../strings";
import { h, type Screen } from "./dom";
import type { Stored } from "./install";
import type { Go } from "./main";

export function consentScreen(
  go: Go,
  stored: Stored,
  listen: (listener: (stored: Stored) => void) => void,
): Screen {
  const next = h("button", { class: "main", type: "button", onclick: () => go.choose() }, say("consentGo"));
  const box = h("input", { type: "checkbox", id: "agreed", onchange: () => update() });
  const state = h("p", { class: "state", role: "status" });
  let now = stored;

  function update(): void {
    // Until it is stored, nothing but this page's own policy would keep requests at home.
    next.disabled = !box.checked || now.state === "storing";
    state.textContent =
      now.state === "storing"
        ? say("storing", { done: now.done, total: now.total || "…" })
        : say(now.state === "stored" ? "stored" : "storingFailed");
  }

  listen((told) => {
    now = told;
    update();
  });
  update();
  return {
    title: say("consentTitle"),
    content: [
      h("p", {}, say("consentWhat")),
      h("p", { class: "warning" }, say("consentResearch")),
      h("p", {}, say("consentPrivacy")),
      h("label", { class: "check", for: "agreed" }, box, h("span", {}, say("consentBox"))),
      state,
      h(
        "div",
        { class: "actions" },
        next,
        h("button", { type: "button", onclick: () => go.history() }, say("history")),
      ),
    ],
  };
}
