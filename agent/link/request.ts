/** HTTP requests to the control plane with the link's session. */
import { type IncomingMessage, request } from 'node:http';
import { Readable } from 'node:stream';
import { unavailable } from '#protocol/errors.ts';
import type { FetchPart } from '../drivers/image/driver.ts';
import { ServerAgent, type Trust } from './dial.ts';
import type { Session } from './link.ts';

/** The control plane's blob store may be slow to begin; silence longer than this is a broken connection. */
const IDLE_LIMIT_MS = 60_000;

export interface RequestDeps {
  trust: Trust;
  /** Waits for the link; rejects with `unavailable`. */
  session(signal?: AbortSignal): Promise<Session>;
}

/** Downloads one part of an image. Throws `unavailable` when the control plane is away or has no such blob. */
export function createFetchPart(deps: RequestDeps): FetchPart {
  return async (fingerprint, part, signal) => {
    const response = await get(deps, `/agent/images/${fingerprint}/${part}`, signal);
    if (response.statusCode === 200) return Readable.toWeb(response) as ReadableStream<Uint8Array>;
    response.resume();
    throw unavailable(`Cannot fetch image ${fingerprint.slice(0, 12)}: the server answered ${response.statusCode}`);
  };
}

/** Downloads a release of the agent. Throws `unavailable` when the control plane is away or has no such release. */
export function createFetchRelease(deps: RequestDeps) {
  return async (sha256: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> => {
    const response = await get(deps, `/agent/release/${sha256}`, signal);
    if (response.statusCode === 200) return Readable.toWeb(response) as ReadableStream<Uint8Array>;
    response.resume();
    throw unavailable(`Cannot fetch the agent's release: the server answered ${response.statusCode}`);
  };
}

async function get(deps: RequestDeps, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
  const { address, token } = await deps.session(signal);
  return new Promise((resolve, reject) => {
    const outgoing = request({
      agent: new ServerAgent(address, deps.trust),
      host: address.host,
      port: address.port,
      path,
      headers: { host: address.authority, authorization: `Bearer ${token}` },
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.setTimeout(IDLE_LIMIT_MS, () => outgoing.destroy(new Error('timed out')));
    outgoing.once('response', resolve);
    outgoing.once('error', (cause) => reject(unavailable(`Cannot reach the control plane: ${cause.message}`, cause)));
    outgoing.end();
  });
}
