// What people chose next, as a bundle carries it: src/m6rec/edge/transitions.py in the browser, which has
// the formula and the form of the file.
import type { Shelf } from "./bundle";
import { dot } from "./choices";

/** `transitions` of bundle.json. */
export interface TransitionsConfig {
  pairs: number;
  directions: number;
  low: number;
  step: number;
  recency_decay: number;
  shrinkage: number;
  prior: number;
  max_history: number;
  head?: HeadConfig | null;
}

/** One number for each part (collaborative/head.py). */
export interface Logit {
  chosen: number;
  similarity: number;
  popularity: number;
  repeated: number;
  last: number;
  new: number;
}

/** Of a tuned retriever: a mixture of two logits. */
export interface HeadConfig {
  choices: Logit;
  likeness: Logit;
  share: number;
  emphasis: number;
  boost: number;
}

export interface Transitions {
  norm: Float32Array;
  key: Float32Array;
  /** The head's part of each item; 0 of new ones. */
  popularity: Float32Array;
  mean: Float32Array;
  /** One row of K numbers for each direction. */
  turn: Float32Array;
  m: Float32Array;
  /** Where the pairs of each item begin; one more for the end. */
  start: Int32Array;
  later: Int32Array;
  weight: Float64Array;
}

/** An entry of a history: its weight, turn · (m ∘ g), and gᵀ M g of an item (0 of a text). */
interface Told {
  place: number | null;
  x: number;
  z: Float64Array;
  own: number;
}

/** Reads transitions.bin; throws where it does not fit its settings. */
export function unpackTransitions(body: Uint8Array, config: TransitionsConfig, items: number, K: number): Transitions {
  const { pairs, directions, low, step } = config;
  const counts = [items, items, items, K, directions * K, directions];
  const fixed = 4 * counts.reduce((sum, count) => sum + count, 0) + 2 * items + pairs;
  if (body.length < fixed) throw new Error(`transitions.bin is too short for ${items} items`);
  const bytes = body.slice().buffer;
  let at = 0;
  const floats = counts.map((count) => {
    at += 4 * count;
    return new Float32Array(bytes, at - 4 * count, count);
  });
  const [norm, key, popularity, mean, turn, m] = floats as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const sizes = new Uint16Array(bytes, at, items);
  const levels = new Uint8Array(bytes, at + 2 * items, pairs);
  const start = new Int32Array(items + 1);
  sizes.forEach((size, item) => (start[item + 1] = start[item]! + size));
  const later = new Int32Array(pairs);
  at = fixed;
  for (let item = 0; item < items; item++) {
    let before = -1;
    for (let n = start[item]!; n < start[item + 1]!; n++) {
      let gap = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = body[at++];
        if (byte === undefined) throw new Error(`transitions.bin does not hold ${pairs} pairs`);
        gap |= (byte & 127) << shift;
        if (byte < 128) break;
      }
      before += gap + 1;
      later[n] = before;
    }
  }
  if (start[items] !== pairs || at !== body.length) throw new Error(`transitions.bin does not hold ${pairs} pairs`);
  const weight = Float64Array.from(levels, (level) => 2 ** (low + step * level));
  return { norm, key, popularity, mean, turn, m, start, later, weight };
}

export class NextChoice {
  constructor(
    readonly config: TransitionsConfig,
    private readonly numbers: Transitions,
    private readonly shelf: Shelf,
  ) {}

  /** A history, oldest first: places of items (null for a text), and their item vectors. */
  entries(places: readonly (number | null)[], vectors: readonly Float64Array[]): Told[] {
    const { norm, mean, turn, m } = this.numbers;
    const { recency_decay, shrinkage } = this.config;
    const K = mean.length;
    return places.map((place, n) => {
      const age = places.length - 1 - n;
      const x = recency_decay ** age / ((place === null ? 0 : norm[place]!) + shrinkage);
      const apart = vectors[n]!.map((value, k) => value - mean[k]!);
      const g = Float64Array.from(m, (_, d) => dot(turn.subarray(d * K, (d + 1) * K), apart));
      const length = Math.sqrt(dot(g, g));
      const z = new Float64Array(K);
      let own = 0;
      g.forEach((value, d) => {
        const unit = length < 1e-6 ? 0 : value / length;
        own += unit * unit * m[d]!;
        for (let k = 0; k < K; k++) z[k]! += unit * m[d]! * turn[d * K + k]!;
      });
      return { place, x, z, own: place === null ? 0 : own };
    });
  }

  /** The score of every item. */
  scores(told: readonly Told[]): Float64Array {
    const { start, later, weight, mean } = this.numbers;
    const z = new Float64Array(mean.length);
    for (const one of told) one.z.forEach((value, k) => (z[k]! += one.x * value));
    const moved = dot(z, mean);
    const found = Float64Array.from(this.shelf.ids, (_, item) => this.words(z, moved, item));
    for (const { place, x, own } of told) {
      if (place === null) continue;
      for (let n = start[place]!; n < start[place + 1]!; n++) found[later[n]!]! += x * weight[n]!;
      found[place]! -= (x * this.config.prior * own) / (1 - own);
    }
    return found;
  }

  /** Logarithms of the head's probabilities; similarity: of the two towers, of every item. */
  joined(head: HeadConfig, told: readonly Told[], similarity: Float64Array): Float64Array {
    const chosen = this.scores(told).map((score) => this.logit(score));
    const { popularity } = this.numbers;
    const count = similarity.length;
    const mean = similarity.reduce((sum, value) => sum + value, 0) / count;
    const spread = Math.sqrt(similarity.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count);
    const repeated = new Set(told.map((one) => one.place));
    const last = told.at(-1)?.place ?? null;
    const logs = (of: Logit) =>
      logSoftmax(
        similarity.map(
          (value, item) =>
            of.chosen * chosen[item]! +
            (of.similarity * (value - mean)) / Math.max(spread, 1e-6) +
            of.popularity * popularity[item]! +
            (repeated.has(item) ? of.repeated : 0) +
            (item === last ? of.last : 0) +
            (popularity[item] === 0 ? of.new : 0),
        ),
      );
    const [choices, likeness] = [logs(head.choices), logs(head.likeness)];
    const found = choices.map((log, item) => {
      const mixed = logSum(Math.log(head.share) + log, Math.log(1 - head.share) + likeness[item]!);
      return mixed + head.emphasis * chosen[item]! + (popularity[item] === 0 ? head.boost : 0);
    });
    return head.emphasis === 0 && head.boost === 0 ? found : logSoftmax(found);
  }

  /** Which entry has the largest share of an item's score; of equals the newest. */
  carrier(told: readonly Told[], item: number): number {
    const { start, later, weight, mean } = this.numbers;
    let best = 0;
    let most = -Infinity;
    told.forEach(({ place, x, z, own }, n) => {
      let share = x * this.words(z, dot(z, mean), item);
      if (place !== null) {
        for (let p = start[place]!; p < start[place + 1]!; p++) if (later[p] === item) share += x * weight[p]!;
        if (place === item) share -= (x * this.config.prior * own) / (1 - own);
      }
      if (share >= most) [best, most] = [n, share];
    });
    return best;
  }

  /** log(1 + 2λ · score), linear below 0. */
  logit(score: number): number {
    const scaled = 2 * this.config.shrinkage * score;
    return scaled > 0 ? Math.log1p(scaled) : scaled;
  }

  /** μ times the prior. */
  private words(z: Float64Array, moved: number, item: number): number {
    const K = z.length;
    const product = dot(this.shelf.vectors.subarray(item * K, (item + 1) * K), z) * this.shelf.scale[item]!;
    return this.config.prior * (product - moved) * this.numbers.key[item]!;
  }
}

/** log(eᵃ + eᵇ); either may be -∞. */
function logSum(a: number, b: number): number {
  const top = Math.max(a, b);
  return top === -Infinity ? top : top + Math.log(Math.exp(a - top) + Math.exp(b - top));
}

/** Logarithms of probabilities. */
function logSoftmax(logits: Float64Array): Float64Array {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - top), 0);
  return logits.map((value) => value - top - Math.log(total));
}
