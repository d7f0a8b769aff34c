/** File transfers whose client is on this very host: content goes from and to its request, with no stream between. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { checkPath, disposition, fileHeaders, readPut } from '#protocol/api/instance-file.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import { AppError, failed, fromWireError } from '#protocol/errors.ts';
import type { QueryParams } from '#protocol/queries.ts';
import type { FileHead } from '#protocol/stream.ts';
import type { Host } from '../../commands/host.ts';
import { answerQuery } from '../../commands/queries.ts';
import type { ContentSource, ContentStream } from '../../streams/content.ts';
import { ALONE_HEADERS, sendError, sendSync } from './answers.ts';

/** Two reads of the file are never in memory. */
const READ_BYTES = 512 * 1024;
/** No answer needs this: that there is a stream is all the host asks. */
const STREAM_ID = 'local';

type Wish = Pick<QueryParams<'file.open'>, 'action' | 'put'>;

/** Reads, writes or deletes `path` as the method says, and answers. Throws what stands in the way before an answer began. */
export async function serveFile(
  host: Host,
  ref: InstanceRef,
  path: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const wish = wishOf(incoming);
  const hasContent = wish.action === 'get' || (wish.put !== null && wish.put.type !== 'directory');
  const params = { ...ref, path: checkPath(path), ...wish, streamId: hasContent ? STREAM_ID : null };
  const content = createLocalContent(path, incoming, outgoing);
  try {
    await answerQuery({ ...host, openContent: () => content }, 'file.open', params);
  } catch (error) {
    throw error instanceof AppError && error.code === 'not_found' && error.message !== 'Instance not found'
      ? new AppError('not_found', 'Not Found', { cause: error })
      : error;
  }
  if (!hasContent) sendSync(outgoing);
}

function wishOf(incoming: IncomingMessage): Wish {
  if (incoming.method === 'GET') return { action: 'get', put: null };
  if (incoming.method === 'DELETE') return { action: 'delete', put: null };
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (name.startsWith('x-') && typeof value === 'string') headers.set(name, value);
  }
  return { action: 'put', put: readPut(headers) };
}

function createLocalContent(path: string, incoming: IncomingMessage, outgoing: ServerResponse): ContentStream {
  return {
    send: async (head, source) => {
      try {
        await sendContent(path, head, source, outgoing);
      } catch (error) {
        outgoing.destroy();
        throw error;
      }
    },
    receive: async () => incoming,
    conclude: async (error) => {
      if (error !== null) sendError(outgoing, fromWireError(error));
      else if (incoming.complete) sendSync(outgoing);
      else outgoing.destroy();
      return error === null && incoming.complete;
    },
  };
}

async function sendContent(
  path: string,
  head: FileHead,
  source: ContentSource,
  outgoing: ServerResponse,
): Promise<void> {
  if (head.type === 'directory') {
    const text = Buffer.alloc(source.sizeBytes);
    await source.read(text, 0);
    return sendSync(outgoing, JSON.parse(text.toString()), fileHeaders(head));
  }
  outgoing.writeHead(200, {
    ...ALONE_HEADERS,
    ...fileHeaders(head),
    'content-type': 'application/octet-stream',
    'content-disposition': disposition(path),
    'content-length': head.sizeBytes,
  });
  for (let at = 0; at < source.sizeBytes; ) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, source.sizeBytes - at));
    const size = await source.read(buffer, at);
    if (size === 0) throw failed('The file became shorter while it was read');
    if (outgoing.destroyed) throw failed('The client went away before the end');
    if (!outgoing.write(buffer.subarray(0, size)))
      await Promise.race([once(outgoing, 'drain'), once(outgoing, 'close')]);
    at += size;
  }
  outgoing.end();
}
