/** The chosen language's sentences. */

import { en, type Key } from "./en";
import { es } from "./es";

export const LANGUAGES = { en, es };
export type Language = keyof typeof LANGUAGES;
const KEPT = "tfgma-language";

let chosen: Language = "en";

/** The language that was chosen before, else the browser's, else English. */
export function startLanguage(): void {
  const wished = localStorage.getItem(KEPT) ?? navigator.language.slice(0, 2);
  useLanguage(wished in LANGUAGES ? (wished as Language) : "en");
}

export function useLanguage(language: Language): void {
  chosen = language;
  localStorage.setItem(KEPT, language);
  document.documentElement.lang = language;
}

export function language(): Language {
  return chosen;
}

/** A sentence with its {places} filled. */
export function say(key: Key, values: Record<string, string | number> = {}): string {
  return LANGUAGES[chosen][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** The sentence for a refusal; the general one where there is no other. */
export function sayRefusal(code: string, values: Record<string, string | number>): string {
  const key = `refused_${code}`;
  return key in en ? say(key as Key, values) : say("refused_unexpected", { said: code });
}
