// Small charts: lines over time, and bars beside each other. Drawn as SVG, told as text.

import { el, svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 96;

/**
 * A chart of lines over the same moments. lines: [{name, values}], null where there is no figure;
 * say: how a figure is written; room: how many moments fit.
 */
export function lineChart({ title, lines, say, room }) {
  const known = lines.flatMap(({ values }) => values).filter((value) => value !== null);
  const top = ceiling(Math.max(0, ...known));
  const latest = lines.map(({ name, values }) => ({ name, text: sayLast(values, say) }));
  const words = latest.map(({ name, text }) => (name ? `${name} ${text}` : text)).join(", ");
  return figure(
    title,
    latest,
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `${title}, now: ${words}`,
      },
      [0, 0.5, 1].map((share) => rule(share)),
      lines.map(({ values }, n) => path(values, top, room, n)),
      [0.5, 1].map((share) => mark(share, say(top * share))),
    ),
  );
}

/** A chart of bars: [{name, value}]. */
export function barChart({ title, bars, say }) {
  const most = Math.max(1e-12, ...bars.map(({ value }) => value));
  const rows = bars.map(({ name, value }) =>
    el(
      "li",
      {},
      el("span", { class: "name" }, name),
      svg(
        "svg",
        { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true", class: "bar" },
        svg("rect", { class: "bed", width: 100, height: 6 }),
        svg("rect", { class: "part", width: Math.max(1, (100 * value) / most), height: 6 }),
      ),
      el("span", { class: "value" }, say(value)),
    ),
  );
  const nothing = el("p", { class: "muted" }, "No request since you opened this page.");
  return el(
    "figure",
    {},
    el("figcaption", {}, el("span", {}, title)),
    rows.length ? el("ul", { class: "bars" }, rows) : nothing,
  );
}

function figure(title, latest, drawing) {
  const keys = latest.map(({ name, text }, n) =>
    el("span", { class: `key key-${n}` }, name ? `${name} ${text}` : text),
  );
  return el(
    "figure",
    {},
    el("figcaption", {}, el("span", {}, title), el("span", { class: "keys" }, keys)),
    drawing,
  );
}

function sayLast(values, say) {
  const last = values.at(-1) ?? null;
  return last === null ? "–" : say(last);
}

function rule(share) {
  const y = heightOf(share);
  return svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: y, y2: y });
}

function mark(share, words) {
  return svg("text", { class: "mark", x: 0, y: heightOf(share) - 3 }, words);
}

/** Where a share of the highest figure stands. */
function heightOf(share) {
  return HEIGHT - share * (HEIGHT - 16) - 2;
}

/** Newest at the right; a gap where there is no figure. */
function path(values, top, room, number) {
  const first = room - values.length;
  let pen = false;
  const steps = values.map((value, n) => {
    if (value === null) {
      pen = false;
      return "";
    }
    const x = (WIDTH * (first + n)) / Math.max(1, room - 1);
    const y = heightOf(value / top);
    const step = `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    const alone = !pen && (values[n + 1] ?? null) === null;
    pen = true;
    return alone ? `${step}h0.01` : step;
  });
  return svg("path", { class: `line line-${number}`, d: steps.join("") });
}

/** The next of 1, 2 or 5 times a power of ten. */
function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [1, 2, 5, 10].find((step) => step * power >= most * 0.999999);
}
