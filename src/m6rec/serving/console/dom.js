// Elements made from names and texts. Nothing here reads HTML: what shops and shoppers write stays text.

const SVG = "http://www.w3.org/2000/svg";

/** The element with an id, which index.html has. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** An element. Attributes that are null or false are left out; functions become listeners. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Says something to those who listen to the page. */
export function announce(text) {
  byId("told").textContent = text;
}

/** Shows a problem in its place; null: there is none. */
export function showProblem(place, error) {
  place.hidden = error === null;
  place.textContent = error === null ? "" : error.message;
}

/** `work` once calls have stopped for a while. */
export function settled(work, milliseconds = 180) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** Whether an error only says that its request is not wanted any more. */
export function isAborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}
