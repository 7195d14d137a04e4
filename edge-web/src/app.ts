// The page: pick a few items, and the catalogue is ranked anew on this device.
import { openHere } from "./open";
import type { Entry, Ranked, Recommender } from "./recommender";

const SHOWN = 10;
const LISTED = 30;
const picked: Entry[] = [];
let recommender: Recommender | null = null;
let asked = 0;

const status = find("status");
const list = { picked: find("picked"), found: find("found"), shelf: find("shelf") };
const search = find<HTMLInputElement>("search");
const words = find<HTMLInputElement>("words");

function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

function element(tag: string, text: string, ...inside: Node[]): HTMLElement {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  made.append(...inside);
  return made;
}

function button(text: string, label: string, action: () => void): HTMLElement {
  const made = element("button", text) as HTMLButtonElement;
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

function titleOf(entry: Entry): string {
  return typeof entry === "string" ? `“${entry}”` : (recommender?.bundle.shelf.titles[entry] ?? "");
}

function add(entry: Entry): void {
  if (entry === "" || picked.includes(entry)) return;
  picked.push(entry);
  void changed();
}

function drop(entry: Entry): void {
  picked.splice(picked.indexOf(entry), 1);
  void changed();
  find("picked-title").scrollIntoView({ block: "nearest" });
}

async function changed(): Promise<void> {
  list.picked.replaceChildren(
    ...picked.map((entry) => {
      const title = titleOf(entry);
      return element("li", "", button(`${title} ×`, `Take away ${title}`, () => drop(entry)));
    }),
  );
  find("nothing").hidden = picked.length > 0;
  find("clear").hidden = picked.length === 0;
  showShelf();
  const number = ++asked;
  if (recommender === null || picked.length === 0) {
    list.found.replaceChildren();
    find("timing").textContent = "";
    return;
  }
  const history = [...picked];
  const begun = performance.now();
  const answers = await recommender.rerank(history, SHOWN);
  const spent = performance.now() - begun;
  if (number !== asked) return; // something else was picked meanwhile
  find("timing").textContent =
    `${recommender.bundle.shelf.ids.length} items ranked in ${spent.toFixed(1)} ms on this device.`;
  list.found.replaceChildren(...answers.map((answer) => resultOf(answer, history)));
}

function resultOf(answer: Ranked, history: readonly Entry[]): HTMLElement {
  const because = titleOf(history[answer.because] ?? "");
  const why = element("div", `Goes with ${because}`);
  why.className = "why";
  const told = element("div", "", element("div", answer.title), why);
  const made = element("li", "", told, button("+", `Add ${answer.title}`, () => add(answer.place)));
  made.dataset["id"] = answer.id;
  return made;
}

function showShelf(): void {
  if (recommender === null) return;
  const { titles, ids } = recommender.bundle.shelf;
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const places: number[] = [];
  let count = 0;
  titles.forEach((title, place) => {
    const low = title.toLowerCase();
    if (picked.includes(place) || !wanted.every((word) => low.includes(word))) return;
    count += 1;
    if (places.length < LISTED) places.push(place);
  });
  list.shelf.replaceChildren(
    ...places.map((place) => {
      const title = titles[place] ?? "";
      const made = element("li", "", element("span", title), button("+", `Add ${title}`, () => add(place)));
      made.dataset["id"] = ids[place] ?? "";
      return made;
    }),
  );
  find("more").textContent = count > places.length ? `${places.length} of ${count} shown.` : `${count} items.`;
}

find("own").addEventListener("submit", (event) => {
  event.preventDefault();
  add(words.value.split(/\s+/).filter(Boolean).join(" "));
  words.value = "";
});
find("clear").addEventListener("click", () => {
  picked.length = 0;
  void changed();
});
search.addEventListener("input", showShelf);

try {
  const opened = await openHere();
  recommender = opened.recommender;
  const { name, precision } = recommender.bundle.config;
  status.textContent = `Ready: ${name}, ${precision}, ${opened.threads} ${opened.threads > 1 ? "threads" : "thread"}.`;
  status.dataset["threads"] = String(opened.threads);
  await changed();
} catch (error) {
  status.textContent = `The model could not be opened: ${error instanceof Error ? error.message : String(error)}`;
  status.dataset["failed"] = "yes";
}
if ("serviceWorker" in navigator) {
  await navigator.serviceWorker.register("offline.js");
  await navigator.serviceWorker.ready;
  document.documentElement.dataset["offline"] = "ready";
}
