// The same code in Node: `node dist/node/node.mjs tokens|rerank BUNDLE`, questions as JSON on stdin.
// tokens: [[text, budget], …] → ids (of the folder only tokenizer.json is read). rerank: [{history: [id or text, …], k}, …] → answers.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { text } from "node:stream/consumers";
import * as ort from "onnxruntime-web";
import { readBundle } from "./bundle";
import { Recommender, type Runtime } from "./recommender";
import { type Definition, Tokenizer } from "./tokenizer";

const [verb, folder] = process.argv.slice(2);
if ((verb !== "tokens" && verb !== "rerank") || folder === undefined) {
  console.error("right is: node node.mjs tokens|rerank BUNDLE < questions.json");
  process.exit(2);
}
const read = async (name: string) => new Uint8Array(await readFile(join(folder, name)));
const asked: unknown = JSON.parse(await text(process.stdin));
if (verb === "tokens") {
  const tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(await read("tokenizer.json"))) as Definition);
  const pairs = asked as [string, number][];
  console.log(JSON.stringify(pairs.map(([text, budget]) => tokenizer.encode(text, budget))));
} else {
  ort.env.wasm.numThreads = 1;
  const bundle = await readBundle(read);
  const recommender = await Recommender.open(bundle, ort as unknown as Runtime);
  const places = new Map(bundle.shelf.ids.map((id, place) => [id, place]));
  const answers = [];
  for (const { history, k } of asked as { history: string[]; k: number }[]) {
    answers.push(await recommender.rerank(history.map((entry) => places.get(entry) ?? entry), k));
  }
  console.log(JSON.stringify(answers));
}
