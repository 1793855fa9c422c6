/** Results that are kept on this device, and nowhere else. */

import type { Result } from "../worker/messages";

const DATABASE = "tfgma";
const STORE = "results";

export interface Kept {
  id: number;
  result: Result;
  video: Blob | null;
}

function opened(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function ask<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const request = act(database.transaction(STORE, mode).objectStore(STORE));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } finally {
    database.close();
  }
}

/** Keeps a result; the video only if it is given. */
export async function keep(result: Result, video: Blob | null): Promise<number> {
  return Number(await ask("readwrite", (store) => store.add({ result, video })));
}

/** The latest first. */
export async function keptResults(): Promise<Kept[]> {
  const all = await ask("readonly", (store) => store.getAll() as IDBRequest<Kept[]>);
  return all.reverse();
}

export async function forget(id: number): Promise<void> {
  await ask("readwrite", (store) => store.delete(id));
}

export async function forgetAll(): Promise<void> {
  await ask("readwrite", (store) => store.clear());
}
