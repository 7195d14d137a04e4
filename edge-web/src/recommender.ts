// What EdgeBundle does in Python (src/m6rec/edge/bundle.py), in the browser and in Node.
import type { InferenceSession, Tensor, TypedTensor } from "onnxruntime-common";
import type { Bundle } from "./bundle";
import { dot } from "./choices";
import type { Personal } from "./personal";
import { Tokenizer } from "./tokenizer";
import { NextChoice } from "./transitions";

/** The parts of ONNX Runtime that are used; its web and its Node package both have them. */
export interface Runtime {
  InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  Tensor: new (type: "int32" | "float32", data: Int32Array | Float32Array, dims: number[]) => Tensor;
}

/** An item of the catalogue by its position, or a text of the user's own. */
export type Entry = number | string;

export interface Ranked {
  place: number;
  id: string;
  title: string;
  score: number;
  /** Position in the history of the event that is nearest; with transitions: that carried it. */
  because: number;
}

/** Score of an item of the catalogue, and which event of the history it is for. */
interface Answered {
  score: (place: number) => number;
  because: (place: number) => number;
}

export class Recommender {
  readonly tokenizer: Tokenizer;
  private readonly known = new Map<string, Float32Array>();
  private readonly next: NextChoice | null;

  private constructor(
    readonly bundle: Bundle,
    private readonly runtime: Runtime,
    private readonly sessions: Record<"encode" | "user" | "item", InferenceSession>,
  ) {
    this.tokenizer = new Tokenizer(bundle.tokenizer);
    const { config, transitions, shelf } = bundle;
    const counted = config.transitions ?? null;
    this.next = transitions && counted ? new NextChoice(counted, transitions, shelf) : null;
  }

  static async open(bundle: Bundle, runtime: Runtime): Promise<Recommender> {
    const open = (graph: Uint8Array) =>
      runtime.InferenceSession.create(graph, {
        executionProviders: ["wasm"],
        graphOptimizationLevel: "all",
        externalData: [{ path: "weights.bin", data: bundle.weights }],
      });
    const { encode, user, item } = bundle.graphs;
    const sessions = { encode: await open(encode), user: await open(user), item: await open(item) };
    return new Recommender(bundle, runtime, sessions);
  }

  /** The k best items that the history (oldest first) does not hold, nor the person has hidden. */
  async rerank(history: readonly Entry[], k: number, personal?: Personal): Promise<Ranked[]> {
    if (history.length === 0) throw new Error("the history is empty");
    const hidden = new Set<Entry>(personal?.which(false));
    const chosen = [...history.keys()].filter((n) => !hidden.has(history[n]!));
    const answered =
      this.next !== null && chosen.length > 0
        ? await this.byTransitions(this.next, history, chosen, personal)
        : await this.byTexts(history, personal);
    const { shelf } = this.bundle;
    const scored: [number, number][] = [];
    for (let place = 0; place < shelf.ids.length; place++) {
      if (!hidden.has(place) && !history.includes(place)) scored.push([place, answered.score(place)]);
    }
    scored.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    return scored.slice(0, k).map(([place, score]) => ({
      place,
      id: shelf.ids[place] ?? "",
      title: shelf.titles[place] ?? "",
      score,
      because: answered.because(place),
    }));
  }

  /** By the likeness of an item to the user vector. */
  private async byTexts(history: readonly Entry[], personal?: Personal): Promise<Answered> {
    const plain = Float64Array.from(await this.vectorOf(history));
    const user = personal === undefined ? plain : personal.bend(plain);
    const things = await this.vectorsOf(history);
    const prior = this.bundle.shelf.prior;
    return {
      score: (place) => this.similarity(user, place) + (prior[place] ?? 0),
      because: (place) => this.nearest(place, things),
    };
  }

  /** By what people chose next, and what the person changes of the likeness. chosen: positions of choices. */
  private async byTransitions(
    next: NextChoice,
    history: readonly Entry[],
    chosen: readonly number[],
    personal?: Personal,
  ): Promise<Answered> {
    const newest = chosen.slice(-next.config.max_history);
    const entries = newest.map((n) => history[n]!);
    const places = entries.map((entry) => (typeof entry === "number" ? entry : null));
    const told = next.entries(places, await this.vectorsOf(entries));
    const because = (place: number) => newest[next.carrier(told, place)]!;
    const taught = personal?.parameters.some((value) => value !== 0) ? personal : null;
    const head = next.config.head ?? null;
    if (taught === null && head === null) {
      const scores = next.scores(told);
      return { score: (place) => next.logit(scores[place]!), because };
    }
    const plain = Float64Array.from(await this.vectorOf(history));
    const { prior } = this.bundle.shelf;
    const logits =
      head === null
        ? next.scores(told).map((score) => next.logit(score))
        : next.joined(head, told, prior.map((value, place) => value + this.similarity(plain, place)));
    if (taught === null) return { score: (place) => logits[place]!, because };
    const change = taught.bend(plain).map((value, k) => value - plain[k]!);
    return { score: (place) => logits[place]! + taught.scale * this.similarity(change, place), because };
  }

  /** The unit vector of a history, oldest first. */
  async vectorOf(history: readonly Entry[]): Promise<Float32Array> {
    if (history.length === 0) throw new Error("the history is empty");
    const { shelf, config } = this.bundle;
    const newest = history.slice(-config.max_history);
    const texts = newest.map((entry) => (typeof entry === "number" ? (shelf.events[entry] ?? "") : entry));
    return this.userVector(await this.remembered(texts));
  }

  /** States of events; a text is encoded once. */
  private async remembered(texts: readonly string[]): Promise<Float32Array> {
    const fresh = [...new Set(texts)].filter((text) => !this.known.has(text));
    const width = this.bundle.config.width;
    if (fresh.length > 0) {
      const states = await this.encode(fresh, this.bundle.config.event_budget);
      fresh.forEach((text, n) => this.known.set(text, states.slice(n * width, (n + 1) * width)));
    }
    const all = new Float32Array(texts.length * width);
    texts.forEach((text, n) => all.set(this.known.get(text) ?? [], n * width));
    return all;
  }

  /** Ids in brackets, padded to the longest. */
  segments(texts: readonly string[], budget: number): Tensor {
    const { pad, bos_source, eos_source } = this.bundle.config.special;
    const rows = texts.map((text) => [bos_source, ...this.tokenizer.encode(text, budget), eos_source]);
    const width = Math.max(...rows.map((row) => row.length));
    const ids = new Int32Array(rows.length * width).fill(pad);
    rows.forEach((row, n) => ids.set(row, n * width));
    return new this.runtime.Tensor("int32", ids, [rows.length, width]);
  }

  async encode(texts: readonly string[], budget: number): Promise<Float32Array> {
    return this.run("encode", "ids", this.segments(texts, budget));
  }

  async run(graph: "encode" | "user" | "item", input: string, value: Tensor): Promise<Float32Array> {
    const found = await this.sessions[graph].run({ [input]: value });
    const out = Object.values(found)[0] as TypedTensor<"float32">;
    return out.data;
  }

  async userVector(states: Float32Array): Promise<Float32Array> {
    return this.run("user", "states", this.tensor(states));
  }

  async itemVectors(states: Float32Array): Promise<Float32Array> {
    return this.run("item", "states", this.tensor(states));
  }

  private tensor(states: Float32Array): Tensor {
    const width = this.bundle.config.width;
    return new this.runtime.Tensor("float32", states, [states.length / width, width]);
  }

  private similarity(user: Float64Array, place: number): number {
    const { shelf, config } = this.bundle;
    const start = place * config.projection;
    const vector = shelf.vectors.subarray(start, start + config.projection);
    return dot(vector, user) * (shelf.scale[place] ?? 0);
  }

  /** Item vectors of what the events were about. */
  private async vectorsOf(history: readonly Entry[]): Promise<Float64Array[]> {
    const { shelf, config } = this.bundle;
    const free = history.filter((entry) => typeof entry === "string");
    const told = free.length > 0 ? await this.itemVectors(await this.encode(free, config.item_budget)) : null;
    let next = 0;
    return history.map((entry) => {
      const K = config.projection;
      if (typeof entry === "string") {
        next += 1;
        return Float64Array.from((told ?? new Float32Array()).slice((next - 1) * K, next * K));
      }
      const scale = shelf.scale[entry] ?? 0;
      return Float64Array.from(shelf.vectors.slice(entry * K, (entry + 1) * K), (value) => value * scale);
    });
  }

  /** The event whose thing is nearest to an item; of equals the newest. */
  private nearest(place: number, things: readonly Float64Array[]): number {
    const K = this.bundle.config.projection;
    const vector = this.bundle.shelf.vectors.subarray(place * K, (place + 1) * K);
    let best = 0;
    let most = -Infinity;
    things.forEach((thing, n) => {
      const likeness = dot(vector, thing);
      if (likeness >= most) [best, most] = [n, likeness];
    });
    return best;
  }
}
