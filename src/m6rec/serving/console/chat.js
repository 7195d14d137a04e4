// The page of conversation: replies come word by word, with the items that they recommend.

import { announce, byId, el, isAborted, showProblem } from "./dom.js";
import { stream } from "./api.js";

const OPENERS = [
  "I need a gift for someone who loves the outdoors",
  "Something warm for the winter",
  "What is popular?",
];

/** Opens the page. turns: the conversation as the server takes it, which keeps none itself. */
export function openChat() {
  const turns = [];
  let asked = null;
  const words = byId("words");

  byId("openers").replaceChildren(
    ...OPENERS.map((text) => el("button", { type: "button", class: "chip", click: () => say(text) }, text)),
  );
  byId("say").addEventListener("submit", (event) => {
    event.preventDefault();
    say(words.value.trim());
  });
  words.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("say").requestSubmit();
    }
  });
  byId("stop").addEventListener("click", () => asked?.abort());
  byId("chat-new").addEventListener("click", () => {
    asked?.abort();
    turns.length = 0;
    byId("talk").replaceChildren();
    byId("openers").hidden = false;
    byId("chat-new").hidden = true;
    showProblem(byId("chat-problem"), null);
    words.focus();
  });

  async function say(text) {
    if (!text || asked) return;
    words.value = "";
    byId("openers").hidden = true;
    byId("chat-new").hidden = false;
    turns.push({ role: "user", content: text });
    byId("talk").append(bubble("you", "You", text));
    await reply();
  }

  async function reply() {
    const place = bubble("it", "Shop", "");
    const said = place.querySelector("p");
    place.setAttribute("aria-busy", "true");
    byId("talk").append(place);
    busy(new AbortController());
    try {
      const pieces = stream("v1/chat/completions", { messages: turns, stream: true }, asked);
      for await (const piece of pieces) {
        const delta = piece.choices?.[0]?.delta ?? {};
        if (delta.content) said.append(delta.content);
        if (delta.items?.length) place.append(offers(delta.items));
        place.scrollIntoView({ block: "nearest" });
      }
      showProblem(byId("chat-problem"), null);
    } catch (error) {
      if (isAborted(error)) announce("Stopped");
      else showProblem(byId("chat-problem"), error);
    }
    place.setAttribute("aria-busy", "false");
    if (said.textContent) turns.push({ role: "assistant", content: said.textContent });
    else {
      place.remove();
      words.value = turns.pop()?.content ?? "";
    }
    busy(null);
    words.focus();
  }

  function busy(controller) {
    asked = controller;
    byId("send").disabled = controller !== null;
    byId("stop").hidden = controller === null;
  }

  return { show: () => words.focus({ preventScroll: true }) };
}

function bubble(kind, who, text) {
  return el("div", { class: `turn ${kind}` }, el("span", { class: "who" }, who), el("p", {}, text));
}

function offers(items) {
  return el(
    "ul",
    { class: "offers", "aria-label": "Recommended" },
    items.map((item) => el("li", {}, el("span", { class: "title" }, item.title))),
  );
}
