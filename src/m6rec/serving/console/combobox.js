// A text field that suggests (the ARIA pattern "combobox with a list").

import { announce, el, isAborted, settled } from "./dom.js";

let made = 0;

/**
 * Lets a field suggest what `find` gives for its text: [{label, note?, value}].
 * find: (text, signal) → promise; choose: called with the value that was taken; failed: with errors.
 */
export function combobox(field, { find, choose, failed }) {
  const id = `list-${++made}`;
  const list = el("ul", { id, role: "listbox", class: "suggestions", hidden: true });
  list.setAttribute("aria-label", "Suggestions");
  field.after(list);
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", id);
  let found = [];
  let at = -1;
  let asked = new AbortController();

  function draw() {
    const open = found.length > 0;
    list.hidden = !open;
    field.setAttribute("aria-expanded", String(open));
    list.replaceChildren(...found.map(option));
    mark(open ? 0 : -1);
  }

  function option({ label, note }, number) {
    return el(
      "li",
      {
        id: `${id}-${number}`,
        role: "option",
        mousedown: (event) => event.preventDefault(),
        click: () => take(number),
      },
      el("span", {}, label),
      note ? el("small", {}, note) : null,
    );
  }

  function mark(number) {
    at = number;
    [...list.children].forEach((one, n) => one.setAttribute("aria-selected", String(n === at)));
    if (at < 0) field.removeAttribute("aria-activedescendant");
    else field.setAttribute("aria-activedescendant", `${id}-${at}`);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    asked.abort();
    found = [];
    draw();
  }

  function take(number) {
    const { value } = found[number];
    field.value = "";
    close();
    choose(value);
  }

  const look = settled(async () => {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    try {
      const suggestions = await find(field.value.trim(), signal);
      if (signal.aborted || document.activeElement !== field) return;
      found = suggestions;
      draw();
      announce(found.length ? `${found.length} suggestions` : "Nothing found");
    } catch (error) {
      if (!isAborted(error)) failed(error);
    }
  });

  field.addEventListener("input", look);
  field.addEventListener("blur", close);
  field.addEventListener("click", look);
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) {
      event.preventDefault();
      if (!found.length) look();
      else mark((at + moves[event.key] + found.length) % found.length);
    } else if (event.key === "Enter" && found.length) {
      event.preventDefault();
      take(at);
    } else if (event.key === "Escape" && found.length) {
      event.preventDefault();
      close();
    }
  });
  draw();
}
