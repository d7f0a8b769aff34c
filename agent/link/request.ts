/** HTTP requests to the control plane with the link's session. */
import { type IncomingMessage, request } from 'node:http';
import { Readable } from 'node:stream';
import { HostBackup, type HostInventory } from '#protocol/backup.ts';
import { failed, unavailable } from '#protocol/errors.ts';
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
  return async (sha256: string, signal: AbortSignal): Promise<Readable> => {
    const response = await get(deps, `/agent/release/${sha256}`, signal);
    if (response.statusCode === 200) return response;
    response.resume();
    throw unavailable(`Cannot fetch the agent's release: the server answered ${response.statusCode}`);
  };
}

/**
 * The host's copy of the database. Throws `unavailable` when the control plane is away, or too old to have one, `failed` when it
 * has none to give now.
 */
export function createFetchBackup(deps: RequestDeps) {
  return async (): Promise<HostBackup> => {
    const response = await get(deps, '/agent/backup');
    const text = await readText(response);
    if (response.statusCode === 404) throw unavailable('This control plane has no copies for hosts');
    if (response.statusCode !== 200)
      throw failed(`Cannot fetch the backup: the server answered ${response.statusCode}`);
    return HostBackup.parse(JSON.parse(text));
  };
}

/** Gives the control plane all that the host has. Throws `unavailable` when it is away, `failed` when it does not take it. */
export function createSendInventory(deps: RequestDeps) {
  return async (inventory: HostInventory): Promise<void> => {
    const response = await send(deps, 'PUT', '/agent/recovery', { body: Buffer.from(JSON.stringify(inventory)) });
    const text = await readText(response);
    if (response.statusCode !== 204) throw failed(`The server did not take it: ${response.statusCode} ${text}`);
  };
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const get = (deps: RequestDeps, path: string, signal?: AbortSignal): Promise<IncomingMessage> =>
  send(deps, 'GET', path, signal === undefined ? {} : { signal });

async function send(
  deps: RequestDeps,
  method: string,
  path: string,
  { signal, body }: { signal?: AbortSignal; body?: Buffer },
): Promise<IncomingMessage> {
  const { address, token } = await deps.session(signal);
  const length = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const outgoing = request({
      agent: new ServerAgent(address, deps.trust),
      host: address.host,
      port: address.port,
      method,
      path,
      headers: { host: address.authority, authorization: `Bearer ${token}`, ...length },
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.setTimeout(IDLE_LIMIT_MS, () => outgoing.destroy(new Error('timed out')));
    outgoing.once('response', resolve);
    outgoing.once('error', (cause) => reject(unavailable(`Cannot reach the control plane: ${cause.message}`, cause)));
    outgoing.end(body);
  });
}
