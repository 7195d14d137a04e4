// Where a personal record is kept: IndexedDB of this browser, one record under one key.
import type { PersonalRecord } from "./personal";

const [BASE, STORE, KEY] = ["m6-edge", "personal", "record"];

/** What is kept, whatever it is; undefined for nothing. */
export async function kept(): Promise<unknown> {
  return withStore("readonly", (store) => store.get(KEY));
}

export async function keep(record: PersonalRecord): Promise<void> {
  await withStore("readwrite", (store) => store.put(record, KEY));
}

/** Deletes the whole base. */
export async function forget(): Promise<void> {
  await answered(indexedDB.deleteDatabase(BASE));
}

async function withStore<T>(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const opening = indexedDB.open(BASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const base = await answered(opening);
  try {
    const transaction = base.transaction(STORE, mode);
    const found = await answered(ask(transaction.objectStore(STORE)));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
      transaction.commit();
    });
    return found;
  } finally {
    base.close();
  }
}

function answered<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
