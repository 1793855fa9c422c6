/** LiteRT in WebAssembly, as the pipeline's networks take it. */

import { type CompiledModel, loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "@litertjs/core";
import type { Answer, Network } from "../pipeline/network";

const THREADED = "litert_wasm_threaded_internal.js";

/** Loads the runtime; with threads where the page is isolated and the processor has several cores. */
export async function startLiteRt(folder: string): Promise<{ threads: number }> {
  const threads = Math.min(4, navigator.hardwareConcurrency || 1);
  const canThread =
    threads > 1 &&
    globalThis.crossOriginIsolated &&
    (await supportsFeature("relaxedSimd")) &&
    (await supportsFeature("threads"));
  // In a worker the runtime would look for its parts beside the worker, and start threads with the worker's code.
  (globalThis as { Module?: unknown }).Module = {
    locateFile: (name: string) => `${folder}/${name}`,
    mainScriptUrlOrBlob: `${folder}/${THREADED}`,
  };
  await loadLiteRt(folder, { threads: canThread });
  return { threads: canThread ? threads : 1 };
}

/** A TFLite file, ready to run. */
export async function network(content: Uint8Array, threads: number): Promise<Network> {
  const model = await loadAndCompile(content, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
  return new LiteRtNetwork(model);
}

class LiteRtNetwork implements Network {
  readonly inputs: { name: string; shape: number[] }[];

  constructor(private readonly model: CompiledModel) {
    this.inputs = model.getInputDetails().map(({ name, shape }) => ({ name, shape: [...shape] }));
  }

  async run(inputs: Float32Array | Record<string, Float32Array>): Promise<Answer[]> {
    // By name: the order in the file need not be the one in which the network was made.
    const named = inputs instanceof Float32Array ? { [this.inputs[0].name]: inputs } : inputs;
    const tensors: Record<string, Tensor> = {};
    for (const { name, shape } of this.inputs) tensors[name] = new Tensor(named[name], shape);
    const outputs = await this.model.run(tensors);
    const answers = Object.entries(outputs).map(([name, tensor]) => ({
      name,
      shape: [...tensor.type.layout.dimensions].slice(1),
      values: Float32Array.from(tensor.toTypedArray()),
    }));
    for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    return answers;
  }
}
