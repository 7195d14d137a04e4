// Milliseconds in the browser, asked for by benchmarks/bench_edge.py: `bench(threads, repeats)`.
import { openHere } from "./open";

const CANDIDATES = 50;
const TOKENS = 16;
const HISTORY = 5;

/** Medians: every token of the candidates and the history, and with the bundle's item vectors. */
async function bench(threads: number, repeats: number): Promise<Record<string, number>> {
  const opened = await openHere(threads);
  const { recommender } = opened;
  const { shelf, config } = recommender.bundle;
  // Long texts, cut at the budget: every one has exactly TOKENS tokens with its brackets.
  const filled = (n: number) => `${(shelf.texts[n % shelf.texts.length] ?? "").slice(0, 40)} ${"red shoe ".repeat(TOKENS)}`;
  const candidates = Array.from({ length: CANDIDATES }, (_, n) => filled(n));
  const history = Array.from({ length: HISTORY }, (_, n) => filled(n + CANDIDATES));
  const every = async () => {
    const items = await recommender.itemVectors(await recommender.encode(candidates, TOKENS - 2));
    const user = await recommender.userVector(await recommender.encode(history, TOKENS - 2));
    return scores(user, items, config.projection);
  };
  const places = Array.from({ length: HISTORY }, (_, n) => n);
  await recommender.rerank(places, 10); // the events' states are remembered from here on
  const kept = () => recommender.rerank(places, 10);
  let next = HISTORY;
  const fresh = () => recommender.rerank([...places, next++], 10);
  return {
    threads: opened.threads,
    every_token: await median(every, repeats),
    item_vectors: await median(kept, repeats),
    item_vectors_and_a_new_event: await median(fresh, repeats),
  };
}

function scores(user: Float32Array, items: Float32Array, K: number): number[] {
  return Array.from({ length: items.length / K }, (_, n) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += (items[n * K + k] ?? 0) * (user[k] ?? 0);
    return sum;
  });
}

async function median(call: () => Promise<unknown>, repeats: number): Promise<number> {
  const spent: number[] = [];
  for (let n = 0; n < repeats + 2; n++) {
    const begun = performance.now();
    await call();
    if (n >= 2) spent.push(performance.now() - begun);
  }
  spent.sort((a, b) => a - b);
  return spent[Math.floor(spent.length / 2)] ?? NaN;
}

Object.assign(globalThis, { bench });
