// The few things that the page does with elements.

export function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

export function element(tag: string, text: string, ...inside: Node[]): HTMLElement {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  made.append(...inside);
  return made;
}

/** label: what it is called, and known by when the page is drawn anew (`redrawn`). */
export function button(text: string, label: string, action: () => void, pressed?: boolean): HTMLElement {
  const made = element("button", text) as HTMLButtonElement;
  made.type = "button";
  made.setAttribute("aria-label", label);
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", action);
  return made;
}

/** Draws a list anew; who was on one of its buttons stays on it, or comes to `instead`. */
export function redrawn(list: HTMLElement, rows: HTMLElement[], instead: HTMLElement): void {
  const label = list.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
  list.replaceChildren(...rows);
  if (label == null) return;
  const same = [...list.querySelectorAll("button")].find((made) => made.getAttribute("aria-label") === label);
  (same ?? instead).focus();
}
