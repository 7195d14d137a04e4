// The page: pick a few items, and the catalogue is ranked anew on this device. A heart or a hide changes
// the answer at once (mine.ts).
import { button, element, find, redrawn } from "./dom";
import { Mine } from "./mine";
import { openHere } from "./open";
import type { Entry, Ranked, Recommender } from "./recommender";

const SHOWN = 10;
const LISTED = 30;
const picked: Entry[] = [];
let recommender: Recommender | null = null;
let mine: Mine | null = null;
let asked = 0;
let shown: string[] = [];

const status = find("status");
const list = { picked: find("picked"), found: find("found"), shelf: find("shelf") };
const search = find<HTMLInputElement>("search");
const words = find<HTMLInputElement>("words");

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
  redrawn(
    list.picked,
    picked.map((entry) => {
      const title = titleOf(entry);
      return element("li", "", button(`${title} ×`, `Take away ${title}`, () => drop(entry)));
    }),
    find("picked-title"),
  );
  find("nothing").hidden = picked.length > 0;
  find("clear").hidden = picked.length === 0;
  showShelf();
  await answer();
}

async function answer(): Promise<void> {
  const number = ++asked;
  if (recommender === null || mine === null || picked.length === 0) {
    shown = [];
    list.found.replaceChildren();
    find("timing").textContent = "";
    return;
  }
  const history = [...picked];
  const begun = performance.now();
  const answers = await recommender.rerank(history, SHOWN, mine.personal);
  const spent = performance.now() - begun;
  if (number !== asked) return; // something else was picked meanwhile
  find("timing").textContent =
    `${recommender.bundle.shelf.ids.length} items ranked in ${spent.toFixed(1)} ms on this device.`;
  shown = answers.map((answer) => answer.id);
  const liked = new Set(mine.personal.which(true));
  const rows = answers.map((answer) => resultOf(answer, history, liked.has(answer.place)));
  redrawn(list.found, rows, find("found-title"));
}

function resultOf(answer: Ranked, history: readonly Entry[], liked: boolean): HTMLElement {
  const { id, title, place } = answer;
  const because = titleOf(history[answer.because] ?? "");
  const why = element("div", `Goes with ${because}`);
  why.className = "why";
  const told = element("div", "", element("div", title), why);
  const say = (word: boolean | null) => void mine?.say(id, title, word, history, shown);
  const acts = element(
    "div",
    "",
    button(liked ? "♥" : "♡", `Like ${title}`, () => say(liked ? null : true), liked),
    button("Hide", `Hide ${title}`, () => say(false)),
    button("+", `Add ${title}`, () => add(place)),
  );
  acts.className = "acts";
  const made = element("li", "", told, acts);
  made.dataset["id"] = id;
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
  const rows = places.map((place) => {
    const title = titles[place] ?? "";
    const made = element("li", "", element("span", title), button("+", `Add ${title}`, () => add(place)));
    made.dataset["id"] = ids[place] ?? "";
    return made;
  });
  redrawn(list.shelf, rows, find("browse-title"));
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
  find("picked-title").focus();
});
search.addEventListener("input", showShelf);

try {
  const opened = await openHere();
  mine = await Mine.open(opened.recommender, answer);
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
