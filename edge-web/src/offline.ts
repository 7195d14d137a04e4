// The service worker: keeps every file of this release, and answers from there. Headers are kept with
// the files, so a page that was isolated (and so has threads) is isolated offline too.
declare const FILES: string[];
declare const VERSION: string;

const worker = self as unknown as ServiceWorkerGlobalScope;
const kept = `m6-edge-${VERSION}`;

worker.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(kept);
    await cache.addAll(["./", ...FILES].map((name) => new Request(name, { cache: "no-cache" })));
    await worker.skipWaiting();
  };
  event.waitUntil(fill());
});

worker.addEventListener("activate", (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("m6-edge-") && name !== kept);
    await Promise.all(old.map((name) => caches.delete(name)));
    await worker.clients.claim();
  };
  event.waitUntil(tidy());
});

worker.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const answer = async () => {
    const cache = await caches.open(kept);
    return (await cache.match(event.request, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(answer());
});
