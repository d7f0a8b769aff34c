/** Image content on the disk of a self-hosted control plane, by workerd's disk service: plain HTTP on a binding. */
import { unavailable } from '#protocol/errors.ts';
import type { BlobStore } from './store.ts';

/** All that is used of the binding, so that a plain function can stand in for it. */
export interface DiskService {
  fetch(url: string, init?: { method: string; body?: ReadableStream<Uint8Array>; duplex?: 'half' }): Promise<Response>;
}

const url = (key: string) => `http://disk/${key}`;

/** Throws `unavailable` when the disk refuses (full, read-only, gone). A `put` that failed leaves nothing. */
export function createDiskStore(disk: DiskService): BlobStore {
  const remove = async (key: string) => {
    const response = await disk.fetch(url(key), { method: 'DELETE' });
    await response.body?.cancel();
    if (!response.ok && response.status !== 404) throw refused('delete', response);
  };
  return {
    async put(key, body) {
      try {
        const response = await disk.fetch(url(key), { method: 'PUT', body, ...HALF_DUPLEX });
        await response.body?.cancel();
        if (!response.ok) throw refused('store', response);
      } catch (error) {
        await remove(key).catch(() => undefined);
        throw error;
      }
    },
    async get(key) {
      const response = await disk.fetch(url(key));
      if (response.status === 404) {
        await response.body?.cancel();
        return null;
      }
      if (!response.ok || response.body === null) throw refused('read', response);
      return { body: response.body, sizeBytes: Number(response.headers.get('content-length') ?? 0) };
    },
    delete: remove,
  };
}

/** Standard fetch asks for it with a streamed body; workerd ignores it. */
const HALF_DUPLEX = { duplex: 'half' as const };

const refused = (verb: string, response: Response) =>
  unavailable(`Cannot ${verb} image content: the blob store answered ${response.status}`);
