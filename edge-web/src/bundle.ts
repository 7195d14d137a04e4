// A bundle as `m6rec edge export` writes it (docs/edge-export.md): read, checked, unpacked.
import type { Definition } from "./tokenizer";
import { type Transitions, type TransitionsConfig, unpackTransitions } from "./transitions";

export type Read = (name: string) => Promise<Uint8Array>;

export interface Config {
  format: 1;
  name: string;
  precision: string;
  width: number;
  projection: number;
  special: { pad: number; bos_source: number; eos_source: number };
  item_budget: number;
  event_budget: number;
  max_history: number;
  transitions?: TransitionsConfig | null;
}

interface Told {
  ids: string[];
  titles: string[];
  texts: (string | null)[];
  events: string[];
  prior: number[];
}

export interface Shelf {
  ids: string[];
  titles: string[];
  texts: string[];
  events: string[];
  prior: Float64Array;
  /** int8, one row of `projection` numbers for each item. */
  vectors: Int8Array;
  scale: Float32Array;
}

export interface Bundle {
  /** Of the manifest: names the whole bundle. */
  sha256: string;
  config: Config;
  shelf: Shelf;
  /** What people chose next; null where texts alone rank. */
  transitions: Transitions | null;
  tokenizer: Definition;
  graphs: Record<"encode" | "user" | "item", Uint8Array>;
  weights: Uint8Array;
}

/** Reads a bundle and holds every file that it uses against the manifest's hash. */
export async function readBundle(read: Read): Promise<Bundle> {
  const manifest = json<{ sha256: string; files: Record<string, { sha256: string }> }>(await read("manifest.json"));
  const checked = async (name: string): Promise<Uint8Array> => {
    const body = await read(name);
    if ((await sha256(body)) !== manifest.files[name]?.sha256) {
      throw new Error(`${name} is damaged: its hash is not the manifest's`);
    }
    return body;
  };
  const [config, told, vectors, tokenizer, weights, encode, user, item] = await Promise.all([
    checked("bundle.json"),
    checked("catalogue.json"),
    checked("vectors.bin"),
    checked("tokenizer.json"),
    checked("weights.bin"),
    checked("encode.onnx"),
    checked("user.onnx"),
    checked("item.onnx"),
  ]);
  const settings = json<Config>(config);
  if (settings.format !== 1) throw new Error(`bundle format ${settings.format}: right is 1`);
  const shelf = unpack(json<Told>(told), vectors);
  const counted = settings.transitions ?? null;
  const transitions =
    counted === null
      ? null
      : unpackTransitions(await checked("transitions.bin"), counted, shelf.ids.length, settings.projection);
  return {
    sha256: manifest.sha256,
    config: settings,
    shelf,
    transitions,
    tokenizer: json<Definition>(tokenizer),
    graphs: { encode, user, item },
    weights,
  };
}

function unpack(told: Told, body: Uint8Array): Shelf {
  const count = told.ids.length;
  const bytes = body.slice().buffer;
  return {
    ids: told.ids,
    titles: told.titles,
    texts: told.texts.map((text, place) => text ?? told.titles[place] ?? ""),
    events: told.events,
    prior: Float64Array.from(told.prior.length > 0 ? told.prior : new Array<number>(count).fill(0)),
    scale: new Float32Array(bytes, 0, count),
    vectors: new Int8Array(bytes, 4 * count),
  };
}

function json<T>(body: Uint8Array): T {
  return JSON.parse(new TextDecoder().decode(body)) as T;
}

/** Browsers have hashing on secure origins only; elsewhere nothing can be checked, nor installed. */
async function sha256(body: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", body as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
