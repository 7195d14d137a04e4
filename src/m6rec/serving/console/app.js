// The start: pages by the address after #, the key dialog, whether the server is ready.

import { announce, byId } from "./dom.js";
import { forgetKey, hasKey, isReady, onKeyNeeded } from "./api.js";
import { openChat } from "./chat.js";
import { openHealth } from "./health.js";
import { openImport } from "./import.js";
import { openShoppers } from "./shoppers.js";

const OPENERS = { shoppers: openShoppers, chat: openChat, import: openImport, health: openHealth };
const READY_EVERY = 5000;
const opened = {};
let shown = null;

function route() {
  const [, asked, ...rest] = location.hash.split("/");
  const name = asked in OPENERS ? asked : "shoppers";
  opened[name] ??= OPENERS[name]();
  if (shown !== name) {
    if (shown) opened[shown].hide?.();
    for (const other of Object.keys(OPENERS)) byId(other).hidden = other !== name;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const title = byId(`${name}-title`).textContent;
    document.title = `${title} · m6rec`;
    if (shown) announce(title);
    shown = name;
  }
  opened[name].show?.(decodeURIComponent(rest.join("/")));
}

async function watchReady() {
  const ready = await isReady();
  const state = byId("state");
  const now = ready === null ? "away" : ready ? "ready" : "busy";
  if (state.dataset.state !== now) {
    state.dataset.state = now;
    state.textContent = { away: "No connection", ready: "Ready", busy: "Not ready" }[now];
  }
  byId("forget").hidden = !hasKey();
  setTimeout(watchReady, READY_EVERY);
}

function askForKey(why) {
  const dialog = byId("ask-key");
  const field = byId("key");
  byId("key-why").textContent = why;
  field.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const done = (key) => {
      byId("key-form").onsubmit = byId("key-cancel").onclick = dialog.oncancel = null;
      dialog.close();
      field.value = "";
      byId("forget").hidden = key === null;
      resolve(key);
    };
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      done(field.value.trim());
    };
    byId("key-cancel").onclick = () => done(null);
    dialog.oncancel = () => done(null);
  });
}

onKeyNeeded(askForKey);
byId("forget").addEventListener("click", () => {
  forgetKey();
  location.reload();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", route);
route();
watchReady();
