// The page that imports a file: choose, say what the columns are, send, see what was not taken.

import { byId, el, isAborted, showProblem } from "./dom.js";
import { bodyOf, FIELDS, guess, missing, OWN } from "./columns.js";
import { parseCsv, toCsv } from "./csv.js";
import { upload } from "./upload.js";
import { count, WHAT_IF } from "./words.js";

const PREVIEWED = 5;
const SHOWN = 200;
const LARGEST = 256 * 1024 * 1024;

/** Opens the page. */
export function openImport() {
  const state = { file: null, table: null, chosen: [], rejected: [] };
  let sending = new AbortController();
  const form = byId("choose").elements;
  const drop = byId("drop");

  byId("every").replaceChildren(...WHAT_IF.map(([event]) => el("option", { value: event }, event)));
  byId("every").value = "purchase";
  byId("file").addEventListener("change", () => take(byId("file").files[0]));
  for (const radio of form.kind) radio.addEventListener("change", again);
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  byId("upload").addEventListener("click", send);
  byId("cancel").addEventListener("click", () => sending.abort());
  byId("save-rejected").addEventListener("click", save);

  async function take(file) {
    if (!file) return;
    try {
      if (file.size > LARGEST) throw new Error("This file has more than 256 MB: `m6rec import` reads it.");
      state.table = parseCsv(await file.text());
      state.file = file;
      showProblem(byId("import-problem"), null);
      again();
    } catch (error) {
      state.table = null;
      byId("mapping").hidden = true;
      showProblem(byId("import-problem"), error);
    }
  }

  function again() {
    if (!state.table) return;
    state.chosen = guess(form.kind.value, state.table.header);
    byId("mapping").hidden = false;
    byId("outcome").textContent = "";
    byId("rejected").hidden = byId("progress").hidden = true;
    const lines = count(state.table.rows.length, "line");
    byId("counted").textContent = `${state.file.name}: ${lines}. Say what each column is.`;
    drawColumns();
    check();
  }

  function drawColumns() {
    const { header, rows } = state.table;
    byId("columns").replaceChildren(
      el("thead", {}, el("tr", {}, header.map((name, n) => el("th", { scope: "col" }, picker(name, n))))),
      el(
        "tbody",
        {},
        rows.slice(0, PREVIEWED).map(({ cells }) => el("tr", {}, cells.map((cell) => el("td", {}, cell)))),
      ),
    );
  }

  function picker(name, number) {
    const kind = form.kind.value;
    const shown = name || `column ${number + 1}`;
    const choices = Object.entries(FIELDS[kind]).map(([value, { words, required }]) => [
      value,
      required ? `${words} (needed)` : words,
    ]);
    if (kind === "items" && name) choices.push([OWN, `Keep as “${name}”`]);
    choices.push(["", "Leave out"]);
    const select = el(
      "select",
      { "aria-label": `What ${shown} is`, change: (event) => choose(number, event.target.value) },
      choices.map(([value, words]) => el("option", { value }, words)),
    );
    select.value = state.chosen[number];
    return [el("span", {}, shown), select];
  }

  /** A field comes from one column: another that had it is left out. */
  function choose(number, field) {
    const single = field !== "" && field !== OWN;
    state.chosen = state.chosen.map((had, n) => (n === number ? field : single && had === field ? "" : had));
    byId("columns")
      .querySelectorAll("select")
      .forEach((select, n) => (select.value = state.chosen[n]));
    check();
  }

  function every() {
    return form.kind.value === "events" && !state.chosen.includes("event") ? byId("every").value : "";
  }

  function check() {
    byId("default-event").hidden = every() === "";
    const absent = missing(form.kind.value, state.chosen, every());
    byId("missing").textContent = absent.length ? `Still needed: ${absent.join(", ")}.` : "";
    byId("upload").disabled = absent.length > 0;
    byId("upload").textContent = `Upload ${count(state.table.rows.length, "line")}`;
  }

  async function send() {
    const kind = form.kind.value;
    const { header, rows } = state.table;
    const read = rows.map((row) => ({ ...row, ...bodyOf(kind, header, state.chosen, every(), row.cells) }));
    const wrong = read.filter((row) => row.error);
    sending = new AbortController();
    busy(true);
    const progress = (share) => (byId("progress").value = share);
    try {
      const good = read.filter((row) => row.body);
      const sum = await upload(kind, good, { progress, signal: sending.signal });
      showRejected([...wrong, ...sum.rejected].sort((one, other) => one.line - other.line));
      byId("outcome").textContent = outcome(kind, sum);
      showProblem(byId("import-problem"), null);
    } catch (error) {
      const text = isAborted(error) ? "Stopped." : error.message;
      showProblem(byId("import-problem"), new Error(`${text} What was sent stays; send the file again to go on.`));
    } finally {
      busy(false);
    }
  }

  function outcome(kind, sum) {
    const parts = [`${count(sum.stored, kind.slice(0, -1))} taken`];
    if (sum.duplicates) parts.push(`${sum.duplicates} had been there`);
    if (state.rejected.length) parts.push(`${count(state.rejected.length, "line")} not taken, see below`);
    return `${parts.join(", ")}.`;
  }

  function busy(yes) {
    byId("upload").disabled = yes;
    byId("cancel").hidden = !yes;
    byId("progress").hidden = !yes;
    byId("progress").value = 0;
    if (yes) byId("outcome").textContent = "";
  }

  function showRejected(rejected) {
    state.rejected = rejected;
    byId("rejected").hidden = rejected.length === 0;
    const rows = rejected.slice(0, SHOWN).map(({ line, error, cells }) =>
      el("tr", {}, [line, error, cells.join(" · ")].map((cell) => el("td", {}, String(cell)))),
    );
    const names = ["Line", "What is wrong", "Content"];
    byId("rejects").replaceChildren(
      el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, rows),
    );
  }

  function save() {
    const rows = [
      ["line", "what is wrong", ...state.table.header],
      ...state.rejected.map(({ line, error, cells }) => [line, error, ...cells]),
    ];
    const address = URL.createObjectURL(new Blob([toCsv(rows)], { type: "text/csv" }));
    el("a", { href: address, download: `rejected-${state.file.name}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  return {};
}
