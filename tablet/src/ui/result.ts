/** What the network says, when in the video, and how good the recording is. */

import { roundHalfEven } from "../pipeline/schema";
import { UNCERTAIN } from "../pipeline/verdict";
import { language, say } from "../strings";
import type { Key } from "../strings/en";
import type { ClipResult, Result } from "../worker/messages";
import { clock, h, type Screen, withStyle } from "./dom";
import type { Go } from "./main";
import { paint } from "./pictures";
import { asJson, reasonText, saveFile, why } from "./report";

const TELLING = 3;
const CONTRARY = 1;

export function resultScreen(go: Go, result: Result, video: Blob | null): Screen {
  const player = video ? new Player(video) : null;
  const uncertain = result.verdict.answer === UNCERTAIN;
  const answer = uncertain ? say("resultUncertain") : say("resultFits", { name: result.verdict.answer });
  const others = Math.max(result.quality.figures.other_people, result.quality.figures.hands);
  return {
    title: say("resultTitle"),
    content: [
      h(
        "section",
        { class: `verdict ${uncertain ? "uncertain" : ""}` },
        h("p", { class: "answer", id: "answer", "data-answer": result.verdict.answer }, answer),
        uncertain && h("p", {}, reasonText(result)),
        h("p", { class: "quiet" }, say("meaning")),
      ),
      others > 0 &&
        h(
          "p",
          { class: "warning", id: "others" },
          say("othersSeen", { percent: Math.max(1, percent(others)) }),
        ),
      h("h2", {}, say("classes")),
      bars(result),
      h("h2", {}, say("timeline")),
      h(
        "p",
        { class: "quiet" },
        say("timelineHelp", { seconds: result.clipSeconds, name: result.predicted }),
      ),
      timeline(result, (seconds) => player?.play(seconds)),
      ...(player ? [player.element] : []),
      h("h2", {}, say("telling")),
      moments(result, (seconds) => player?.play(seconds)),
      h("h2", {}, say("quality")),
      qualityTable(result),
      h("h2", {}, say("model")),
      h("p", {}, say("modelLine", { name: result.model.name, variant: result.model.variant })),
      h("p", { class: "quiet hash" }, `${say("modelHash")} ${result.model.sha256}`),
      h("p", { class: "quiet" }, `${result.video}. ${say("assessedAt", { when: when(result.at) })}`),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "main", type: "button", onclick: () => window.print() }, say("saveReport")),
        h(
          "button",
          {
            type: "button",
            id: "save-json",
            onclick: () => saveFile(`${stem(result.video)}.json`, asJson(result)),
          },
          say("saveJson"),
        ),
        h("button", { type: "button", onclick: () => go.choose() }, say("another")),
        h("button", { type: "button", onclick: () => go.history() }, say("history")),
      ),
    ].filter((one) => one !== false),
    leave: () => player?.close(),
  };
}

function when(at: string): string {
  return new Date(at).toLocaleString(language());
}

function stem(name: string): string {
  return name.replace(/\.[^.]*$/, "") || "result";
}

function percent(share: number): number {
  return roundHalfEven(100 * share);
}

function bars({ classes, verdict }: Result): HTMLElement {
  const rows = classes.map((name, n) => {
    const share = percent(verdict.probabilities[n]);
    const isPossible = verdict.possible.includes(name);
    return h(
      "li",
      { class: isPossible ? "possible" : "" },
      h(
        "span",
        {},
        say("probability", { name, percent: share }) + (isPossible ? ` (${say("possible")})` : ""),
      ),
      withStyle(h("span", { class: "fill", "aria-hidden": "true" }), { "--share": `${share}%` }),
    );
  });
  return h("ul", { class: "bars", id: "probabilities" }, ...rows);
}

/** A row of fields, one a clip, coloured by how sure the most probable class is; those left out are hatched. */
function timeline(result: Result, seek: (seconds: number) => void): HTMLElement {
  const predicted = result.classes.indexOf(result.predicted);
  const span = (start: number) => ({ begin: clock(start), end: clock(start + result.clipSeconds) });
  const fields = [
    ...result.clips.map((clip) => ({
      at: clip.startSeconds,
      share: clip.probabilities[predicted] as number | null,
      label: say("timelineCell", {
        ...span(clip.startSeconds),
        name: result.predicted,
        percent: percent(clip.probabilities[predicted]),
      }),
    })),
    ...result.leftOut.map(({ startSeconds, reasons }) => ({
      at: startSeconds,
      share: null,
      label: say("timelineLeftOut", { ...span(startSeconds), why: reasons.map(why).join("; ") }),
    })),
  ].sort((a, b) => a.at - b.at);
  const items = fields.map(({ at, share, label }) => {
    const field = h(
      "button",
      {
        type: "button",
        class: share === null ? "left-out" : "",
        "aria-label": label,
        title: label,
        onclick: () => seek(at),
      },
      h("span", { "aria-hidden": "true" }, share === null ? "–" : String(percent(share))),
      h("small", { "aria-hidden": "true" }, clock(at)),
    );
    return h("li", {}, share === null ? field : withStyle(field, { "--share": `${percent(share)}%` }));
  });
  return h("ol", { class: "timeline", id: "timeline" }, ...items);
}

/** Clips of the highest scores that do not overlap, the highest first. */
export function tellingClips(
  clips: readonly ClipResult[],
  scores: readonly number[],
  seconds: number,
  most: number,
): number[] {
  const found: number[] = [];
  const order = clips.map((_, n) => n).sort((a, b) => scores[b] - scores[a] || a - b);
  for (const n of order)
    if (
      found.length < most &&
      found.every((m) => Math.abs(clips[n].startSeconds - clips[m].startSeconds) >= seconds)
    )
      found.push(n);
  return found;
}

function moments(result: Result, seek: (seconds: number) => void): HTMLElement {
  const { clips, clipSeconds, classes } = result;
  const predicted = classes.indexOf(result.predicted);
  const scores = clips.map((clip) => clip.probabilities[predicted]);
  const isOther = (n: number) => scores[n] < Math.max(...clips[n].probabilities);
  const negated = scores.map((score) => -score);
  const contra = tellingClips(clips, negated, clipSeconds, CONTRARY).filter(isOther);
  const pro = tellingClips(clips, scores, clipSeconds, TELLING).filter((n) => !contra.includes(n));
  const items = [...pro, ...contra].map((n) => {
    const { startSeconds, probabilities, picture } = clips[n];
    const span = { begin: clock(startSeconds), end: clock(startSeconds + clipSeconds) };
    const best = probabilities.indexOf(Math.max(...probabilities));
    const canvas = h("canvas", { role: "img", "aria-label": say("momentPicture", span) });
    paint(canvas, picture);
    return h(
      "li",
      {},
      canvas,
      h("strong", {}, say("moment", span)),
      h("span", {}, say("probability", { name: classes[best], percent: percent(probabilities[best]) })),
      contra.includes(n) && h("em", {}, say("against")),
      h(
        "button",
        { type: "button", class: "screen-only", onclick: () => seek(startSeconds) },
        `▶ ${span.begin}`,
      ),
    );
  });
  return h("ul", { class: "moments" }, ...items);
}

function qualityTable({ quality }: Result): HTMLElement {
  const { figures } = quality;
  const rows: [string, string][] = [
    [say("qLength"), `${quality.seconds.toFixed(1)} s`],
    [say("qFps"), quality.fps.toFixed(2)],
    [say("qClips"), String(quality.clips)],
    [say("qLeftOut"), String(quality.clipsLeftOut)],
  ];
  if (quality.damagedSeconds) rows.push([say("qDamaged"), `${quality.damagedSeconds.toFixed(1)} s`]);
  for (const name of [
    "body",
    "torso",
    "visible",
    "mask_certainty",
    "sharpness",
    "brightness",
    "covered",
    "camera_speed",
  ] as const) {
    const value = figures[name];
    if (value !== null) rows.push([say(`q_${name}` as Key), value.toFixed(2)]);
  }
  return h(
    "table",
    { id: "quality" },
    h(
      "tbody",
      {},
      ...rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))),
    ),
  );
}

/** The video itself, for as long as the screen is shown; it is not printed. */
class Player {
  readonly element: HTMLVideoElement;
  private readonly address: string;

  constructor(video: Blob) {
    this.address = URL.createObjectURL(video);
    this.element = h("video", {
      controls: true,
      playsinline: true,
      class: "screen-only",
      "aria-label": say("videoLabel"),
      src: this.address,
    });
    this.element.muted = true;
  }

  play(seconds: number): void {
    this.element.currentTime = seconds;
    this.element.scrollIntoView({ block: "center" });
    void this.element.play().catch(() => {});
  }

  close(): void {
    this.element.removeAttribute("src");
    URL.revokeObjectURL(this.address);
  }
}
