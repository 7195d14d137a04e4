// The server's HTTP: keys, problems, patience, and answers that come in pieces.

const KEPT = "m6rec-key";
const TRIES = 5;
let asking = null;
let askForKey = async () => null;

/** A request that was refused. fields: [{field, detail}] where the server names them. */
export class Problem extends Error {
  constructor(status, detail, fields = []) {
    super(detail);
    this.status = status;
    this.fields = fields;
  }
}

/** Who is asked for a key: takes a reason, gives a promise of a key, or of null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** Whether this tab has a key. */
export function hasKey() {
  return sessionStorage.getItem(KEPT) !== null;
}

/** Drops the key. */
export function forgetKey() {
  sessionStorage.removeItem(KEPT);
}

/** JSON from a path. */
export async function get(path, options = {}) {
  return (await send("GET", path, undefined, options)).json();
}

/** Text from a path. */
export async function getText(path, options = {}) {
  return (await send("GET", path, undefined, options)).text();
}

/** JSON for JSON. idempotency: the same one keeps the same body once. */
export async function post(path, body, options = {}) {
  return (await send("POST", path, body, options)).json();
}

/** Whether the server is ready; needs no key. */
export async function isReady() {
  try {
    return (await fetch("health/ready", { cache: "no-store" })).ok;
  } catch {
    return null;
  }
}

/** Pieces of an answer, as they come (server-sent events of JSON, closed by [DONE]). */
export async function* stream(path, body, options = {}) {
  const response = await send("POST", path, body, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop();
      for (const event of events) {
        const data = dataOf(event);
        if (data === "[DONE]") return;
        if (data) yield pieceOf(JSON.parse(data));
      }
    }
  } finally {
    await reader.cancel();
  }
}

function dataOf(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(5).trimStart()).join("\n");
}

function pieceOf(piece) {
  if (piece.error) throw new Problem(500, piece.error.message ?? "the answer broke off");
  return piece;
}

/** A response that is fine. Asks for a key where one is needed, waits where the server says so. */
async function send(method, path, body, { signal, idempotency } = {}) {
  for (let tried = 1; ; tried++) {
    const key = sessionStorage.getItem(KEPT);
    const headers = { Accept: "application/json, text/plain, text/event-stream" };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (idempotency) headers["Idempotency-Key"] = idempotency;
    const response = await reach(path, { method, headers, signal, body: asJson(body) });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status === 401) {
      if (!(await newKey(key, problem.message))) throw problem;
    } else if ((response.status === 429 || response.status === 503) && tried < TRIES) {
      await pause(1000 * Number(response.headers.get("Retry-After") ?? 1), signal);
    } else {
      throw problem;
    }
  }
}

function asJson(body) {
  return body === undefined ? undefined : JSON.stringify(body);
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error instanceof TypeError) throw new Problem(0, "The server does not answer.");
    throw error;
  }
}

async function problemOf(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // No problem details: a proxy in between has answered, and the status is all there is.
  }
  const detail = told.detail ?? `The server answers ${response.status} ${response.statusText}.`;
  return new Problem(response.status, detail, told.errors ?? []);
}

/** Asks once, however many requests wait. true: there is another key than the one that was used. */
async function newKey(used, why) {
  if (sessionStorage.getItem(KEPT) !== used) return true;
  asking ??= askForKey(used === null ? "" : why).finally(() => (asking = null));
  const key = await asking;
  if (key === null) return false;
  sessionStorage.setItem(KEPT, key);
  return true;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("not wanted any more", "AbortError"));
    });
  });
}
