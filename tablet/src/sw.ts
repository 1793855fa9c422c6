/** Keeps the whole site on the device, and lets no request leave its origin. */

declare const self: ServiceWorkerGlobalScope;

export {};

/** Written by tfgma: changes with every file of the site, so that browsers notice a new one. */
const VERSION = "__SITE_VERSION__";
const CACHE = `tfgma-${VERSION}`;

const POLICY =
  "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; " +
  "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; ";
const PAGE_SCRIPTS = "script-src 'self' 'wasm-unsafe-eval'";
// OpenCV's build makes its functions from text; it runs in the worker alone.
const WORKER_SCRIPTS = "script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'";

/** With what browsers need for threads, and what forbids requests to anywhere else. */
function guarded(response: Response, path: string): Response {
  if (response.status === 0 || response.redirected) return response;
  const headers = new Headers(response.headers);
  headers.set(
    "Content-Security-Policy",
    POLICY + (path.endsWith("/worker.js") ? WORKER_SCRIPTS : PAGE_SCRIPTS),
  );
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  headers.set("Referrer-Policy", "no-referrer");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  const list = (await (await fetch("precache.json", { cache: "no-store" })).json()) as { files: string[] };
  let done = 0;
  for (const file of list.files) {
    await cache.add(new Request(file, { cache: "no-store" }));
    done++;
    const clients = await self.clients.matchAll({ includeUncontrolled: true });
    for (const client of clients) client.postMessage({ kind: "stored", done, total: list.files.length });
  }
  await self.skipWaiting();
}

async function activate(): Promise<void> {
  for (const name of await caches.keys())
    if (name.startsWith("tfgma-") && name !== CACHE) await caches.delete(name);
  await self.clients.claim();
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.origin !== self.location.origin) return Response.error();
  const cache = await caches.open(CACHE);
  const path = url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname;
  const kept = await cache.match(path, { ignoreSearch: true });
  return guarded(kept ?? (await fetch(request)), path);
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
