// The page of health: what /metrics says, every two seconds while somebody looks.

import { byId, el, showProblem } from "./dom.js";
import { getText } from "./api.js";
import { barChart, lineChart } from "./chart.js";
import { between, parseMetrics, quantile, total, valuesOf } from "./prometheus.js";
import { count, seconds } from "./words.js";

const EVERY = 2000;
const ROOM = 60;
const REQUESTS = "m6rec_request_seconds";
const STAGES = "m6rec_stage_seconds";
const RECOMMEND = { route: "/v1/recommend" };
const whole = new Intl.NumberFormat();
const perSecond = (value) => `${value < 10 ? value.toFixed(1) : value.toFixed(0)} /s`;
const bytes = (value) => `${(value / 1e6).toFixed(1)} MB`;
const TILES = [
  ["Items that can be recommended", "m6rec_index_size", whole.format],
  ["Entries of the journal", "m6rec_journal_last", whole.format],
  ["Requests that wait", "m6rec_queue_depth", whole.format],
  ["Texts in the cache", "m6rec_cache_entries", whole.format],
  ["Size of the cache", "m6rec_cache_bytes", bytes],
  ["Changes of the model", "m6rec_swaps", whole.format],
];
const COLUMNS = ["Time", "Requests", "Half within", "99 % within", "Errors", "Waiting"];

/** Opens the page. points: figures of the last two minutes, oldest first. */
export function openHealth() {
  const points = [];
  let first = null;
  let last = null;
  let timer;
  let turn = 0;

  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : look()));

  function look() {
    clearTimeout(timer);
    if (!byId("health").hidden && !document.hidden) {
      read(++turn);
    }
  }

  function rest() {
    turn++;
    clearTimeout(timer);
    last = null;
  }

  /** mine: whose turn it is; a later look, or a rest, ends this one. */
  async function read(mine) {
    try {
      const samples = parseMetrics(await getText("metrics"));
      if (mine !== turn) return;
      const now = { samples, at: performance.now(), clock: new Date() };
      showProblem(byId("health-problem"), null);
      if (last) points.push(pointOf(last, now));
      if (points.length > ROOM) points.shift();
      first ??= now;
      last = now;
      draw(now);
    } catch (error) {
      if (mine !== turn) return;
      last = null;
      showProblem(byId("health-problem"), error);
      if (error.status === 401 || error.status === 403) return;
    }
    timer = setTimeout(read, EVERY, mine);
  }

  function draw({ samples }) {
    const there = TILES.map(([words, name, say]) => [words, total(samples, name), say]);
    const known = there.filter(([, value]) => value !== null);
    byId("tiles").replaceChildren(
      ...known.map(([words, value, say]) => el("div", {}, el("dt", {}, words), el("dd", {}, say(value)))),
    );
    byId("charts").replaceChildren(...charts(points, first.samples, samples));
    byId("figures").replaceChildren(
      el("thead", {}, el("tr", {}, COLUMNS.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, points.toReversed().map(figuresOf)),
    );
  }

  return { show: look, hide: rest };
}

/** Figures between two readings. */
function pointOf(before, after) {
  const spent = (after.at - before.at) / 1000;
  const [old, now] = [before.samples, after.samples];
  const grown = (labels) => between(old, now, REQUESTS, labels)?.times ?? 0;
  const failed = valuesOf(now, REQUESTS + "_count", "status").filter((status) => /^(429|5)/.test(status));
  return {
    clock: after.clock,
    requests: grown({}) / spent,
    half: quantile(0.5, old, now, REQUESTS, RECOMMEND),
    most: quantile(0.99, old, now, REQUESTS, RECOMMEND),
    errors: failed.reduce((sum, status) => sum + grown({ status }), 0) / spent,
    waiting: total(now, "m6rec_queue_depth") ?? 0,
  };
}

function charts(points, first, now) {
  const line = (name, key) => ({ name, values: points.map((point) => point[key]) });
  const stages = valuesOf(now, STAGES + "_count", "stage")
    .map((name) => ({ name, value: between(first, now, STAGES, { stage: name })?.mean }))
    .filter(({ value }) => value !== undefined);
  const say = perSecond;
  return [
    lineChart({ title: "Requests", lines: [line("", "requests")], say, room: ROOM }),
    lineChart({
      title: "Time to recommend",
      lines: [line("half", "half"), line("99 %", "most")],
      say: seconds,
      room: ROOM,
    }),
    lineChart({ title: "Errors and refusals", lines: [line("", "errors")], say, room: ROOM }),
    lineChart({ title: "Waiting", lines: [line("", "waiting")], say: waits, room: ROOM }),
    barChart({ title: "Where the time goes, on average", bars: stages, say: seconds }),
  ];
}

function waits(value) {
  return Number.isInteger(value) ? count(value, "request") : "";
}

function figuresOf(point) {
  const time = (value) => (value === null ? "–" : seconds(value));
  const cells = [
    point.clock.toLocaleTimeString(),
    perSecond(point.requests),
    time(point.half),
    time(point.most),
    perSecond(point.errors),
    whole.format(point.waiting),
  ];
  return el("tr", {}, cells.map((cell) => el("td", {}, cell)));
}
