// Recommendations as a list: scores, reasons, and what has moved since the last answer.

import { byId, el, svg } from "./dom.js";
import { count, levels, price, score } from "./words.js";

const MOST_STEPS = 5;
const MEANING = {
  similarity: "similarity to the history",
  probability: "probability that they like it",
  popularity: "share of all that was chosen",
};

/** Draws an answer; before: ids of the one before it, where it was for the same person. */
export function drawAnswer(answer, before) {
  const ids = answer.items.map((item) => item.item_id);
  const scores = answer.items.map((item) => item.score);
  const width = barOf(scores);
  const nothing = el("li", { class: "empty" }, "Nothing can be recommended: import some items.");
  byId("answer").replaceChildren(
    ...(ids.length ? [] : [nothing]),
    ...answer.items.map((item, place) => {
      const moved = before ? movement(before.indexOf(item.item_id), place) : null;
      return card(item, answer.by, width(item.score), moved);
    }),
  );
  byId("answer").setAttribute("aria-busy", "false");
  return ids;
}

/** Adds the reasons of an answer to cards that are there. */
export function drawReasons(answer) {
  const places = new Map([...byId("answer").children].map((one) => [one.dataset.item, one]));
  for (const item of answer.items) {
    const place = places.get(item.item_id)?.querySelector(".reason");
    if (place && item.reason) place.textContent = item.reason.text;
  }
}

/** Draws what an answer was made of. */
export function drawSteps(answer) {
  const { steps, milliseconds } = answer.debug;
  byId("how").hidden = false;
  const titles = new Map(answer.items.map((item) => [item.item_id, item.title]));
  byId("steps").replaceChildren(
    el("p", { class: "muted" }, `By ${MEANING[answer.by]}; model ${answer.variant}.`),
    el(
      "table",
      {},
      el("thead", {}, row("th", ["Step", "Time", "Items", "Best"])),
      el(
        "tbody",
        {},
        Object.entries(milliseconds).map(([step, taken]) => {
          const left = steps.find((one) => one.step === step)?.candidates ?? [];
          const best = left.slice(0, MOST_STEPS).map(([id]) => titles.get(id) ?? id);
          const many = left.length ? String(left.length) : "";
          return row("td", [step, `${taken.toFixed(1)} ms`, many, best.join(" · ")]);
        }),
      ),
    ),
  );
}

/** An answer in one sentence, for those who listen. */
export function sayAnswer(answer, before) {
  const many = count(answer.items.length, "recommendation");
  if (!before) return many;
  const fresh = answer.items.filter((item) => !before.includes(item.item_id)).length;
  return `${many}, ${fresh ? `${fresh} of them new` : "the same items"}`;
}

function row(cell, texts) {
  return el("tr", {}, texts.map((text) => el(cell, {}, text)));
}

function card(item, by, share, moved) {
  const facts = [levels(item.category), item.price == null ? null : price(item.price)];
  return el(
    "li",
    { "data-item": item.item_id, class: moved?.fresh ? "fresh" : null },
    el(
      "div",
      { class: "card" },
      el("span", { class: "title" }, item.title),
      el("span", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      el("span", { class: "reason" }, item.reason?.text ?? ""),
    ),
    el(
      "div",
      { class: "score", title: MEANING[by] },
      el("span", {}, score(item.score, by)),
      bar(share),
      moved ? el("span", { class: "moved" }, moved.sign, hidden(moved.words)) : null,
    ),
  );
}

/** Words for those who do not see the sign before them. */
function hidden(words) {
  return el("span", { class: "hidden" }, ` ${words}`);
}

function bar(share) {
  const box = { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" };
  return svg(
    "svg",
    { ...box, class: "bar" },
    svg("rect", { class: "bed", width: 100, height: 4 }),
    svg("rect", { class: "part", width: 100 * share, height: 4 }),
  );
}

/** Scores as widths: from a tenth for the least to the whole for the most. */
function barOf(scores) {
  const least = Math.min(...scores);
  const span = Math.max(...scores) - least;
  return (one) => (span > 0 ? 0.1 + (0.9 * (one - least)) / span : 1);
}

function movement(from, to) {
  if (from < 0) return { sign: "new", words: "in the list", fresh: true };
  if (from === to) return null;
  const places = Math.abs(from - to);
  return from > to
    ? { sign: `▲ ${places}`, words: `up ${count(places, "place")}` }
    : { sign: `▼ ${places}`, words: `down ${count(places, "place")}` };
}
