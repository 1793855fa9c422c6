/** Builds the site's front end into dist/, from the lock file alone. */

import { cpSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** With relaxed SIMD, the same with threads, and without: LiteRT takes what the browser has. */
const LITERT = ["litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal"];

/** What the worker loads by importScripts is copied as it is. */
function copyRuntimes(): Plugin {
  return {
    name: "copy-runtimes",
    apply: "build",
    closeBundle() {
      const at = (path: string) => resolve(import.meta.dirname, path);
      for (const folder of ["dist/litert", "dist/opencv"]) mkdirSync(at(folder), { recursive: true });
      for (const name of LITERT)
        for (const kind of ["js", "wasm"])
          cpSync(at(`node_modules/@litertjs/core/wasm/${name}.${kind}`), at(`dist/litert/${name}.${kind}`));
      cpSync(at("node_modules/@techstark/opencv-js/dist/opencv.js"), at("dist/opencv/opencv.js"));
    },
  };
}

const names = {
  entryFileNames: "[name].js",
  chunkFileNames: "[name].js",
  assetFileNames: "[name][extname]",
};

export default defineConfig({
  base: "./",
  plugins: [copyRuntimes()],
  // LiteRT loads its runtime by importScripts, which module workers lack.
  worker: { format: "iife", rollupOptions: { output: { ...names, codeSplitting: false } } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 20000,
    rollupOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: names,
    },
  },
  test: { include: ["tests/unit/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
