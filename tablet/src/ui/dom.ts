/** Makes elements. */

type Child = Node | string | null | false;
type Properties = Record<string, unknown>;

/** An element with attributes (`class`, `aria-label`, ...) and listeners (`onclick`, ...). */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null)
      element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false));
  return element;
}

/** Sets a custom property: the policy forbids style attributes, not this. */
export function withStyle<E extends HTMLElement>(element: E, values: Record<string, string>): E {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, value);
  return element;
}

/** A screen: its heading takes the focus, so that screen readers begin there. */
export interface Screen {
  title: string;
  content: Node[];
  /** Whether work goes on that drawing the screen again, in another language, would lose. */
  isBusy?: boolean;
  /** Called when another screen comes. */
  leave?: () => void;
}

/** Minutes and seconds. */
export function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
