/** The site's networks, fetched from its own folder and checked. */

import { type Bundle, checkBundle, type Site } from "../pipeline/bundle";
import { BodyFinder } from "../pipeline/pose";
import { RefusedError } from "../pipeline/schema";
import { Vision } from "../pipeline/vision";
import { network, startLiteRt } from "./litert";
import { loadOpenCV } from "./opencv";

/** What everything else needs. */
export interface Models {
  site: Site;
  bundle: Bundle;
  vision: Vision;
  finder: BodyFinder;
  threads: number;
  fetchFile(name: string): Promise<Uint8Array>;
}

/** A file of the site; its SHA-256 must be the one that site.json gives. */
async function fetchFile(base: string, site: Site, name: string): Promise<Uint8Array> {
  const content = await fetchBytes(base + name);
  const digest = await crypto.subtle.digest("SHA-256", content);
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== site.files[name]) throw new RefusedError("fileChanged", { file: name });
  return content;
}

async function fetchBytes(url: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = url.slice(url.lastIndexOf("/") + 1);
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new RefusedError("fileMissing", { file });
  }
  if (!response.ok) throw new RefusedError("fileMissing", { file });
  return new Uint8Array(await response.arrayBuffer());
}

async function fetchJson<T>(url: string): Promise<T> {
  const content = new TextDecoder().decode(await fetchBytes(url));
  try {
    return JSON.parse(content) as T;
  } catch {
    throw new RefusedError("fileChanged", { file: url.slice(url.lastIndexOf("/") + 1) });
  }
}

export async function loadModels(base: string): Promise<Models> {
  const site = await fetchJson<Site>(`${base}model/site.json`);
  const bundle = await fetchJson<Bundle>(`${base}model/bundle.json`);
  checkBundle(bundle);
  const get = (name: string) => fetchFile(`${base}model/`, site, name);
  const { detector, reader, careful, palms } = site.pose;
  const files = await Promise.all(
    [detector, reader, careful, palms].map((name) => (name ? get(name) : Promise.resolve(null))),
  );
  const cv = await loadOpenCV(`${base}opencv/opencv.js`);
  const { threads } = await startLiteRt(`${base}litert`);
  const [first, second, third, fourth] = await Promise.all(
    files.map((file) => file && network(file, threads)),
  );
  const vision = new Vision(cv);
  const pose = { detector: first!, reader: second!, careful: third ?? second!, palms: fourth };
  const finder = new BodyFinder(pose, vision, bundle.build.pose.min_score);
  return { site, bundle, vision, finder, threads, fetchFile: get };
}
