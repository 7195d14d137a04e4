// The same code in Node: `node dist/node/node.mjs VERB BUNDLE`, questions as JSON on stdin.
// tokens: [[text, budget], …] → ids (of the folder only tokenizer.json is read).
// rerank: [{history: [id or text, …], k, record?}, …] → answers.
// personal: {told: [{item, liked, history, beside}, …]} → {record, parameters}.
// options: {options, states, labels, evidence, pull, steps} → tuned options (no folder is read).

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import * as ort from "onnxruntime-web";
import { readBundle } from "./bundle";
import { learned, optionChoice, tunedOptions } from "./choices";
import { Personal } from "./personal";
import { Recommender, type Runtime } from "./recommender";
import { type Definition, Tokenizer } from "./tokenizer";

type Verb = (folder: string, asked: never) => Promise<unknown>;
const verbs: Record<string, Verb> = { tokens, rerank, personal, options };

const [name = "", folder] = process.argv.slice(2);
const verb = verbs[name];
if (verb === undefined || folder === undefined) {
  console.error(`right is: node node.mjs ${Object.keys(verbs).join("|")} BUNDLE < questions.json`);
  process.exit(2);
}
console.log(JSON.stringify(await verb(folder, JSON.parse(await text(process.stdin)) as never)));

function reader(folder: string): (name: string) => Promise<Uint8Array> {
  return async (name) => new Uint8Array(await readFile(join(folder, name)));
}

async function opened(folder: string) {
  ort.env.wasm.numThreads = 1;
  const bundle = await readBundle(reader(folder));
  const recommender = await Recommender.open(bundle, ort as unknown as Runtime);
  const places = new Map(bundle.shelf.ids.map((id, place) => [id, place]));
  const entries = (history: readonly string[]) => history.map((entry) => places.get(entry) ?? entry);
  return { bundle, recommender, entries };
}

async function tokens(folder: string, pairs: [string, number][]) {
  const definition = new TextDecoder().decode(await reader(folder)("tokenizer.json"));
  const tokenizer = new Tokenizer(JSON.parse(definition) as Definition);
  return pairs.map(([text, budget]) => tokenizer.encode(text, budget));
}

async function rerank(folder: string, asked: { history: string[]; k: number; record?: unknown }[]) {
  const { bundle, recommender, entries } = await opened(folder);
  const answers = [];
  for (const { history, k, record } of asked) {
    const personal = new Personal(bundle);
    if (record !== undefined) personal.take(record);
    answers.push(await recommender.rerank(entries(history), k, personal));
  }
  return answers;
}

interface Said {
  item: string;
  liked: boolean;
  history: string[];
  beside: string[];
}

async function personal(folder: string, { told }: { told: Said[] }) {
  const { bundle, recommender, entries } = await opened(folder);
  const person = new Personal(bundle);
  for (const { item, liked, history, beside } of told) {
    person.tell(item, liked, await recommender.vectorOf(entries(history)), beside);
  }
  return { record: person.record, parameters: [...person.parameters] };
}

interface OptionsAsked {
  options: number[][];
  states: number[][];
  labels: number[];
  evidence: number[][];
  pull: number;
  steps: number;
}

async function options(_: string, asked: OptionsAsked) {
  const shipped = asked.options.map((row) => Float64Array.from(row));
  const choices = asked.states.map((state, t) =>
    optionChoice(Float64Array.from(state), shipped, asked.labels[t] ?? 0, asked.evidence[t] ?? []),
  );
  const width = shipped.length * (shipped[0]?.length ?? 0);
  return tunedOptions(shipped, learned(choices, width, asked.pull, asked.steps)).map((row) => [...row]);
}
