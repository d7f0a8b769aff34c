/** `/1.0/instances/<name>/files` (lxd-api 7.4): file attributes travel in headers, of both families; and `…/sftp` (7.5). */
import { z } from 'zod';
import { disposition, fileHeaders, readPut } from '#protocol/api/instance-file.ts';
import type { FileHead } from '#protocol/stream.ts';
import { deleteFile, openFile, putFile, readEntries } from '#worker/services/instance-files.ts';
import { openSftp } from '#worker/services/instance-sftp.ts';
import { sync } from '../envelope.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

const Query = z.object({ path: z.string().optional() });

/** The answer for one file: bytes, a symlink's target, or a directory's names. */
export async function fileResponse(
  path: string,
  head: FileHead,
  body: ReadableStream<Uint8Array> | null,
): Promise<Response> {
  const headers = fileHeaders(head);
  if (head.type === 'directory') return sync(await readEntries(body), headers);
  return new Response(body, {
    headers: {
      ...headers,
      'content-type': 'application/octet-stream',
      'content-disposition': disposition(path),
      'content-length': String(head.sizeBytes),
    },
  });
}

export function instanceFileRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    const path = `/1.0/${prefix}/:name/files` as const;
    const shared = { path, tag: 'instances', query: Query, access: 'trusted' } as const;

    route(
      app,
      { ...shared, method: 'get', summary: 'Read a file or list a directory', answer: 'raw' },
      async ({ ctx, params, query, project, request }) => {
        requirePrefix(prefix);
        const target = { project, name: params.name, path: query.path ?? '' };
        const { head, body } = await openFile(ctx, target);
        const response = await fileResponse(target.path, head, body);
        if (request.method !== 'HEAD') return response;
        await response.body?.cancel();
        return new Response(null, { headers: response.headers });
      },
    );

    route(
      app,
      {
        ...shared,
        method: 'post',
        summary: 'Write a file, directory or symlink',
        reads: { '*/*': 'Content, or target; headers X-LXD-type, X-LXD-mode, X-LXD-uid, X-LXD-gid, X-LXD-write' },
        answer: 'sync',
      },
      async ({ ctx, params, query, project, request }) => {
        requirePrefix(prefix);
        const put = readPut(request.headers);
        const target = { project, name: params.name, path: query.path ?? '' };
        await putFile(ctx, target, put, put.type === 'directory' ? null : request.body);
        return sync();
      },
    );

    route(
      app,
      { ...shared, method: 'delete', summary: 'Delete a file or an empty directory', answer: 'sync' },
      async ({ ctx, params, query, project }) => {
        requirePrefix(prefix);
        await deleteFile(ctx, { project, name: params.name, path: query.path ?? '' });
        return sync();
      },
    );

    route(
      app,
      {
        ...shared,
        method: 'get',
        path: `/1.0/${prefix}/:name/sftp` as const,
        changes: true,
        summary: 'Files by SFTP; a front makes a websocket of the raw connection that clients ask for',
        query: z.object({}),
        answer: 'websocket',
      },
      async ({ ctx, params, project, request }) => {
        requirePrefix(prefix);
        return openSftp(ctx, project, params.name, request);
      },
    );
  }
}
