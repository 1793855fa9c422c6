/** The app: which screen comes after which. */

import { LANGUAGES, type Language, language, say, startLanguage, useLanguage } from "../strings";
import { chooseScreen } from "./choose";
import { consentScreen } from "./consent";
import { h, type Screen } from "./dom";
import { historyScreen } from "./history";
import { install, type Stored } from "./install";
import { processScreen } from "./processing";
import { recordScreen } from "./record";
import { refusedScreen } from "./refused";
import { resultScreen } from "./result";
import "./style.css";

/** Where to go; each draws its screen. */
export interface Go {
  consent(): void;
  choose(): void;
  record(variant: string, keepVideo: boolean): void;
  process(file: Blob, name: string, variant: string, keepVideo: boolean): void;
  result(...given: Parameters<typeof resultScreen> extends [Go, ...infer R] ? R : never): void;
  refused(...given: Parameters<typeof refusedScreen> extends [Go, ...infer R] ? R : never): void;
  history(): void;
}

const app = document.getElementById("app")!;
let current: Screen | null = null;
let redraw: () => void = () => {};
let stored: Stored = { state: "storing", done: 0, total: 0 };
let toldStored: (stored: Stored) => void = () => {};

function show(make: () => Screen): void {
  current?.leave?.();
  redraw = () => show(make);
  const screen = make();
  current = screen;
  document.title = `${screen.title} · ${say("appName")}`;
  const heading = h("h1", { tabindex: "-1" }, screen.title);
  app.replaceChildren(
    h("a", { class: "skip", href: "#content" }, say("skip")),
    h(
      "header",
      { class: "bar" },
      h("span", { class: "name" }, say("appName")),
      screen.isBusy ? "" : languageChoice(),
    ),
    h("main", { id: "content" }, heading, ...screen.content),
    h("footer", { class: "notice" }, say("researchOnly")),
  );
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function languageChoice(): HTMLElement {
  const choice = h("select", {
    "aria-label": "Language / Idioma",
    onchange: () => {
      useLanguage(choice.value as Language);
      redraw();
    },
  });
  for (const [code, strings] of Object.entries(LANGUAGES))
    choice.append(h("option", { value: code, selected: code === language() }, strings.language));
  return choice;
}

const go: Go = {
  consent: () => show(() => consentScreen(go, stored, (listener) => (toldStored = listener))),
  choose: () => show(() => chooseScreen(go)),
  record: (variant, keepVideo) => show(() => recordScreen(go, variant, keepVideo)),
  process: (...given) => show(() => processScreen(go, ...given)),
  result: (...given) => show(() => resultScreen(go, ...given)),
  refused: (...given) => show(() => refusedScreen(go, ...given)),
  history: () => show(() => historyScreen(go)),
};

startLanguage();
go.consent();
void install((now) => {
  stored = now;
  toldStored(now);
});
