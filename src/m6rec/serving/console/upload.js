// Bodies to the server in bulk: what is wrong is left out, the rest goes in, and nothing twice.

import { post, Problem } from "./api.js";

const AT_ONCE = 500;

/**
 * Sends rows ({line, cells, body}) and gives {stored, duplicates, rejected: [{line, cells, error}]}.
 * `progress` is called with the share that is done.
 */
export async function upload(kind, rows, { progress, signal }) {
  const sum = { stored: 0, duplicates: 0, rejected: [] };
  for (let first = 0; first < rows.length; first += AT_ONCE) {
    const part = await sendPart(kind, rows.slice(first, first + AT_ONCE), signal);
    sum.stored += part.stored;
    sum.duplicates += part.duplicates;
    sum.rejected.push(...part.rejected);
    progress(Math.min(1, (first + AT_ONCE) / rows.length));
  }
  return sum;
}

/** Sends a part; where rows are refused, sends it once more without them, until none are left. */
async function sendPart(kind, rows, signal) {
  const rejected = [];
  let left = rows;
  while (left.length) {
    const body = { [kind]: left.map((row) => row.body) };
    try {
      const kept = await post(`v1/${kind}`, body, { signal, idempotency: keyOf(kind, body) });
      return { stored: kept.stored, duplicates: kept.duplicates, rejected };
    } catch (error) {
      const wrong = refused(error);
      if (!wrong.size) throw error;
      rejected.push(...left.filter((_, n) => wrong.has(n)).map((row) => told(row, wrong, left)));
      left = left.filter((_, n) => !wrong.has(n));
    }
  }
  return { stored: 0, duplicates: 0, rejected };
}

function told(row, wrong, left) {
  return { line: row.line, cells: row.cells, error: wrong.get(left.indexOf(row)) };
}

/** Numbers of the rows that a problem is about, with what it says ("items.3.price" is row 3). */
function refused(error) {
  const wrong = new Map();
  if (!(error instanceof Problem) || error.status !== 400) return wrong;
  for (const { field, detail } of error.fields) {
    const [, number, ...rest] = field.split(".");
    if (/^\d+$/.test(number ?? "")) {
      const name = rest.length ? `${rest.join(".")}: ` : "";
      const before = wrong.has(Number(number)) ? `${wrong.get(Number(number))}; ` : "";
      wrong.set(Number(number), before + name + detail);
    }
  }
  return wrong;
}

/**
 * The same key for the same bodies, so that a file that is sent again is kept once. A short hash
 * (FNV-1a, twice) is enough: the server refuses a key that comes with other bodies.
 */
function keyOf(kind, body) {
  const text = JSON.stringify(body);
  const half = (seed) => {
    let hash = seed;
    for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    return (hash >>> 0).toString(16).padStart(8, "0");
  };
  return `console-${kind}-${half(0x811c9dc5)}${half(0x01234567)}`;
}
