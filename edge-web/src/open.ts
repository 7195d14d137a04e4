// Opens the bundle beside the page; threads where the page is isolated, else one.
import * as ort from "onnxruntime-web/wasm";
import { readBundle } from "./bundle";
import { Recommender, type Runtime } from "./recommender";

const MOST_THREADS = 4;

export interface Opened {
  recommender: Recommender;
  threads: number;
}

/** threads: how many at most; without cross-origin isolation there is only one. */
export async function openHere(threads = MOST_THREADS): Promise<Opened> {
  const possible = self.crossOriginIsolated ? Math.min(threads, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.numThreads = possible;
  ort.env.wasm.wasmPaths = new URL("./", location.href).href;
  const bundle = await readBundle(async (name) => {
    const answer = await fetch(`bundle/${name}`);
    if (!answer.ok) throw new Error(`bundle/${name}: ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  });
  return { recommender: await Recommender.open(bundle, ort as unknown as Runtime), threads: possible };
}
