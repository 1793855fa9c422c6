/** Where the video comes from. */

import type { Site } from "../pipeline/bundle";
import { say } from "../strings";
import { h, type Screen } from "./dom";
import type { Go } from "./main";
import { wasInterrupted } from "./processing";

export function chooseScreen(go: Go): Screen {
  const keepVideo = h("input", { type: "checkbox", id: "keep" });
  const variants = h("select", { id: "variant" });
  const file = h("input", {
    type: "file",
    id: "file",
    accept: "video/*,.mp4,.mov,.mkv,.webm,.avi",
    class: "hidden-input",
    onchange: () => {
      const chosen = file.files?.[0];
      if (chosen) go.process(chosen, chosen.name, variants.value || "float32", keepVideo.checked);
    },
  });
  void offer(variants);
  return {
    title: say("chooseTitle"),
    content: [
      wasInterrupted() && h("p", { class: "warning", role: "status" }, say("interrupted")),
      h(
        "div",
        { class: "actions large" },
        h("label", { class: "button main", for: "file" }, say("chooseFile"), file),
        h(
          "button",
          { type: "button", onclick: () => go.record(variants.value || "float32", keepVideo.checked) },
          say("chooseRecord"),
        ),
      ),
      h("h2", {}, say("chooseTips")),
      h("ul", {}, ...(["tip1", "tip2", "tip3", "tip4"] as const).map((tip) => h("li", {}, say(tip)))),
      h("label", { class: "check", for: "keep" }, keepVideo, h("span", {}, say("keepVideo"))),
      h("p", { class: "field" }, h("label", { for: "variant" }, say("variant")), variants),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => go.history() }, say("history")),
      ),
    ].filter((one) => one !== false),
  };
}

/** The networks that the site has; the exact one first. */
async function offer(choice: HTMLSelectElement): Promise<void> {
  const add = (variant: string) =>
    choice.append(
      h("option", { value: variant }, say(variant === "int8" ? "variantInt8" : "variantFloat32")),
    );
  try {
    const site = (await (await fetch("./model/site.json")).json()) as Site;
    for (const variant of site.variants) add(variant);
  } catch {
    // Assessing says which file is missing.
    add("float32");
  }
}
