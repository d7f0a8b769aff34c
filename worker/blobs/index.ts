/** Which BlobStore this runtime has. */
import { unavailable } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import { createDiskStore } from './disk.ts';
import { createR2Store } from './r2.ts';
import type { BlobStore } from './store.ts';

/** The disk where there is one, else R2. Without either every use throws `unavailable`; all else goes on working. */
export function createBlobStore(env: Pick<Env, 'IMAGES_R2' | 'IMAGES_DISK'>): BlobStore {
  if (env.IMAGES_DISK) return createDiskStore(env.IMAGES_DISK);
  if (env.IMAGES_R2) return createR2Store(env.IMAGES_R2);
  const refuse = () => Promise.reject(unavailable('No blob store is configured'));
  return { put: refuse, get: refuse, delete: refuse };
}
