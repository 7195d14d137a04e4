// The page of shoppers: pick one, change what they did, and watch the answer change.

import { announce, byId, el, isAborted, settled, showProblem } from "./dom.js";
import { get, post, Problem } from "./api.js";
import { combobox } from "./combobox.js";
import { drawAnswer, drawReasons, drawSteps, sayAnswer } from "./answer.js";
import { about, did, levels, listed, WHAT_IF, when } from "./words.js";

const NEWEST = 200;
const SHOWN = 12;
const SUGGESTED = 8;
const RECENT = 8;
const UNSEEN = "impression";

/** Opens the page. user: who is looked at; past: their events, oldest first; added: thought up. */
export function openShoppers() {
  const state = { user: null, past: [], added: [], left: new Set(), before: null, all: false };
  let asked = new AbortController();

  byId("adds").replaceChildren(...WHAT_IF.map(([value, words]) => el("option", { value }, words)));
  combobox(byId("who"), {
    find: findShoppers,
    choose: (user) => (location.hash = addressOf(user)),
    failed,
  });
  combobox(byId("what"), { find: findItems, choose: add, failed });
  byId("reset").addEventListener("click", () => {
    state.added = [];
    state.left.clear();
    changed();
    byId("person").focus();
  });
  byId("whole").addEventListener("click", () => {
    state.all = true;
    drawHistory();
    byId("history").children[state.added.length + SHOWN].querySelector("button").focus();
  });
  byId("wishes").addEventListener("input", settled(() => recommend(), 120));
  byId("wishes").addEventListener("submit", (event) => event.preventDefault());
  listRecent();

  function failed(error) {
    if (isAborted(error)) return;
    byId("answer").setAttribute("aria-busy", "false");
    showProblem(byId("answer-problem"), error);
  }

  async function listRecent() {
    try {
      const found = await get(`v1/find/users?limit=${RECENT}`);
      byId("recent").replaceChildren(chip(null), ...found.users.map((one) => chip(one.user_id)));
      mark();
    } catch (error) {
      failed(error);
    }
  }

  function chip(user) {
    return el("a", { class: "chip", href: addressOf(user), "data-user": user ?? "" }, nameOf(user));
  }

  function mark() {
    for (const one of byId("recent").children) {
      if (one.dataset.user === (state.user ?? "")) one.setAttribute("aria-current", "true");
      else one.removeAttribute("aria-current");
    }
  }

  async function show(user) {
    if ((user || null) === state.user && state.before) return;
    Object.assign(state, { user: user || null, past: [], added: [], before: null, all: false });
    state.left.clear();
    asked.abort();
    byId("answer").setAttribute("aria-busy", "true");
    mark();
    byId("person").textContent = nameOf(state.user);
    byId("about").hidden = true;
    try {
      if (state.user !== null) await read(state.user);
      if (state.user !== (user || null)) return;
      changed();
    } catch (error) {
      failed(error);
    }
  }

  async function read(user) {
    const path = `v1/users/${encodeURIComponent(user)}`;
    const [told, history] = await Promise.all([
      get(path).catch(orNothing),
      get(`${path}/events?limit=${NEWEST}`),
    ]);
    if (state.user !== user) return;
    state.past = history.events.filter((event) => event.event !== UNSEEN);
    const facts = Object.entries(told).filter(([name]) => name !== "user_id");
    byId("about").textContent = facts.map(([name, value]) => `${name}: ${listed(value)}`).join(" · ");
    byId("about").hidden = facts.length === 0;
  }

  function add(thing) {
    const event = byId("adds").value;
    const words = thing.title ?? thing.text;
    const what = event === "search" ? { query: words } : thing;
    state.added.push({ event, ...what });
    changed();
  }

  function changed() {
    drawHistory();
    byId("reset").hidden = state.added.length + state.left.size === 0;
    recommend();
  }

  function drawHistory() {
    const added = state.added.map(addedRow);
    const past = state.past.map(pastRow);
    const shown = state.all ? past.length : SHOWN;
    byId("history").replaceChildren(...added.reverse(), ...past.reverse().slice(0, shown));
    byId("whole").hidden = past.length <= shown;
    byId("whole").textContent = `Show all ${past.length}`;
    byId("bare").hidden = added.length + past.length > 0;
  }

  function addedRow(event, number) {
    const drop = () => {
      state.added.splice(number, 1);
      changed();
      byId("what").focus();
    };
    return eventRow(event, "what if", "added", "Take back", drop);
  }

  function pastRow(event, number) {
    const out = state.left.has(number);
    const toggle = () => {
      if (out) state.left.delete(number);
      else state.left.add(number);
      changed();
      byId("history").querySelector(`[data-past="${number}"]`).focus();
    };
    const time = event.timestamp === undefined ? "" : when(event.timestamp);
    const button = out ? "Put back" : "Leave out";
    return eventRow(event, time, out ? "out" : null, button, toggle, number);
  }

  function question() {
    const kept = state.past.filter((_, number) => !state.left.has(number));
    const wishes = byId("wishes").elements;
    const asks = {
      k: Number(wishes.k.value),
      diversity: Number(wishes.diversity.value),
      seen_too: wishes.seen.checked,
    };
    if (state.user !== null) asks.user_id = state.user;
    if (state.added.length + state.left.size > 0 || state.user === null) {
      asks.history = [...kept, ...state.added].slice(-NEWEST).map(asPast);
    }
    return asks;
  }

  async function recommend() {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    byId("answer").setAttribute("aria-busy", "true");
    try {
      const asks = question();
      const answer = await post("v1/recommend", asks, { signal });
      const before = state.before;
      state.before = drawAnswer(answer, before);
      announce(sayAnswer(answer, before));
      showProblem(byId("answer-problem"), null);
      const told = await post("v1/recommend?debug=true", { ...asks, explain: true }, { signal });
      drawReasons(told);
      drawSteps(told);
    } catch (error) {
      failed(error);
    }
  }

  return { show };
}

function eventRow(event, time, kind, button, press, number) {
  return el(
    "li",
    { class: kind },
    el("span", { class: "did" }, did(event)),
    el("span", { class: "title" }, about(event)),
    el("span", { class: "time" }, time),
    el(
      "button",
      {
        type: "button",
        class: "small",
        click: press,
        "aria-label": `${button}: ${about(event)}`,
        "data-past": number,
      },
      button,
    ),
  );
}

async function findShoppers(text, signal) {
  const asks = new URLSearchParams({ ...(text && { text }), limit: SUGGESTED });
  const found = await get(`v1/find/users?${asks}`, { signal });
  return found.users.map((one) => ({ label: one.user_id, value: one.user_id }));
}

/** Items with these words or this id, items that mean the like, and the words themselves. */
async function findItems(text, signal) {
  if (!text) return [];
  const titled = new URLSearchParams({ text, limit: SUGGESTED });
  const [named, near] = await Promise.all([
    get(`v1/find/items?${titled}`, { signal }),
    post("v1/retrieve", { context: text, k: SUGGESTED }, { signal }),
  ]);
  const found = [...named.items, ...near.items];
  const each = new Map(found.map((item) => [item.item_id, item]));
  return [
    ...[...each.values()].slice(0, SUGGESTED).map(({ item_id, title, category }) => ({
      label: title,
      note: levels(category),
      value: { item_id, title },
    })),
    { label: `“${text}”`, note: "these words, as they are", value: { text } },
  ];
}

function orNothing(error) {
  if (error instanceof Problem && [400, 404].includes(error.status)) return {};
  throw error;
}

function asPast({ event, item_id, text, query, timestamp, value }) {
  return { event, item_id, text, query, timestamp, value };
}

function nameOf(user) {
  return user === null ? "A new visitor" : user;
}

function addressOf(user) {
  return user === null ? "#/shoppers" : `#/shoppers/${encodeURIComponent(user)}`;
}
