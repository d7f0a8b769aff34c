/** Operations followed to their end, through whatever happens to the control plane meanwhile. */
import { pause } from './pause.ts';
import type { World } from './world.ts';

/** `lost`: an operation that was acknowledged and then unknown, or that never ended. */
export type Fate = 'Success' | 'Failure' | 'Cancelled' | 'lost';

const FATES: readonly string[] = ['Success', 'Failure', 'Cancelled'];
const PAUSE_MS = 200;

const isFate = (status: string): status is Fate => FATES.includes(status);

function statusIn(metadata: unknown): string {
  if (typeof metadata !== 'object' || metadata === null || !('status' in metadata)) return '';
  return String(metadata.status);
}

/** Asks until the operation has ended; `isTooLate` says when to give up. */
export async function follow({ api }: World, id: string, isTooLate: () => boolean): Promise<Fate> {
  for (;;) {
    const answer = await api('GET', `/1.0/operations/${id}/wait?timeout=5`).catch(() => null);
    if (answer?.status === 404) return 'lost';
    const status = statusIn(answer?.body.metadata);
    if (isFate(status)) return status;
    if (isTooLate()) return 'lost';
    if (answer?.status !== 200) await pause(PAUSE_MS);
  }
}

/** Asks for something; the id of the operation that answers, null when nobody was promised anything. */
export async function ask({ api }: World, method: string, url: string, body?: unknown): Promise<string | null> {
  const answer = await api(method, url, body).catch(() => null);
  return answer?.status === 202 ? (answer.body.operation?.split('/').at(-1) ?? null) : null;
}

/** The body that launches `name` from the image `tiny` in that pool. */
export const launchBody = (name: string, pool: string) => ({
  ...{ name, type: 'container', start: true, source: { type: 'image', alias: 'tiny' } },
  devices: { root: { type: 'disk', path: '/', pool } },
});
