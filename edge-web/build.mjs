// Builds dist/: the app with its service worker, and the same code for Node. `node build.mjs [BUNDLE]`
// also copies a bundle (a folder written by `m6rec edge export`) to dist/bundle.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");
const runtime = join(root, "node_modules", "onnxruntime-web", "dist");
const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning" };

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
cpSync(join(root, "public"), dist, { recursive: true });
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
  cpSync(join(runtime, name), join(dist, name));
}
await build({
  ...common,
  entryPoints: [join(root, "src", "app.ts"), join(root, "src", "bench.ts")],
  outdir: dist,
  conditions: ["onnxruntime-web-use-extern-wasm"],
  minify: true,
});
const bundle = process.argv[2];
if (bundle !== undefined) cpSync(bundle, join(dist, "bundle"), { recursive: true });
const shell = readdirSync(dist).filter((name) => name !== "bundle" && !name.startsWith("bench"));
const files = [
  ...shell,
  ...(bundle === undefined ? [] : readdirSync(join(dist, "bundle")).map((name) => `bundle/${name}`)),
].sort();
const digest = createHash("sha256");
for (const name of files) digest.update(name).update(readFileSync(join(dist, name)));
await build({
  ...common,
  entryPoints: [join(root, "src", "offline.ts")],
  outdir: dist,
  minify: true,
  define: { FILES: JSON.stringify(files), VERSION: JSON.stringify(digest.digest("hex").slice(0, 16)) },
});
await build({
  ...common,
  entryPoints: [join(root, "src", "node.ts")],
  outfile: join(dist, "node", "node.mjs"),
  platform: "node",
  external: ["onnxruntime-web"],
});
