/** Files of an instance by SFTP (lxd-api 7.5), stopped or running. The session lives as long as its connection. */
import { badRequest } from '#protocol/errors.ts';
import { newSecret, sha256Hex } from '#worker/lib/crypto.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline } from './instances.ts';

/** The member only has to dial back; more means that it hangs. */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * Joins the websocket of `request` with the instance's member. Throws 404, 400 for a request that is no upgrade, 503 when the
 * member is away or too old.
 */
export async function openSftp(ctx: Authorized, project: string, name: string, request: Request): Promise<Response> {
  if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') {
    throw badRequest('Missing or invalid upgrade header');
  }
  const loaded = await getInstance(ctx, project, name);
  requireOnline(loaded);
  const { member } = loaded.row;
  const { links, streams } = ctx.objects;
  const streamId = ctx.newId();
  const secret = newSecret();
  await streams.open({ id: streamId, member, kind: 'sftp', fds: { '0': await sha256Hex(secret) }, interactive: true });
  try {
    await links.query(member, 'sftp.open', { project, name, streamId }, OPEN_TIMEOUT_MS);
  } catch (error) {
    await streams.abort(streamId, 'The session could not be opened').catch(() => {});
    throw error;
  }
  const url = new URL(request.url);
  url.search = `?secret=${secret}`;
  return streams.connect(streamId, new Request(url, request));
}
