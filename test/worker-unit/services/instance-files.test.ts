import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InstancesPost } from '#protocol/api/instance.ts';
import { checkPath } from '#protocol/api/instance-file.ts';
import { AppError, unavailable } from '#protocol/errors.ts';
import { FILE_HEAD_HEADER } from '#protocol/stream.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { deleteFile, openFile, putFile, readEntries } from '#worker/services/instance-files.ts';
import { instances } from '#worker/state/schema.ts';
import { openWorld, type World } from './instance-world.ts';

let world: World;
let queries: unknown[];
let sent: string[];
beforeEach(async () => {
  world = await openWorld();
  queries = [];
  sent = [];
  const body = InstancesPost.parse({ name: 'c1', source: { type: 'image', alias: 'bb' } });
  await createInstance(world.ctx, { project: 'default', target: null, body });
});
afterEach(() => world.close());

const target = { project: 'default', name: 'c1', path: 'etc/hosts' };
const head = {
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  sizeBytes: 2,
  modifiedAt: '2026-11-21T02:50:55Z',
};

/** The member opens what it is asked for; the stream answers `response`. */
function answer(response: () => Response | Promise<Response>) {
  world.objects.links.query = (async (_member: string, _name: string, params: unknown) => {
    queries.push(params);
    return {};
  }) as never;
  world.objects.streams.transfer = async (_id, body) => {
    sent.push(body === null ? 'nothing' : await new Response(body).text());
    return response();
  };
}

describe('files', () => {
  it('opens a file: its head and its bytes', async () => {
    answer(() => new Response('a\n', { headers: { [FILE_HEAD_HEADER]: JSON.stringify(head) } }));
    const opened = await openFile(world.ctx, target);
    expect(opened.head).toEqual(head);
    expect(await new Response(opened.body).text()).toBe('a\n');
    expect(queries).toEqual([expect.objectContaining({ action: 'get', path: '/etc/hosts', put: null })]);
    expect(world.asked.opened).toEqual([expect.objectContaining({ kind: 'file', member: 'node1', fds: {} })]);
  });

  it('sends the content of a put, and an empty body where there is none', async () => {
    answer(() => new Response(null, { status: 204 }));
    const put = { type: 'file', mode: null, uid: 1, gid: null, write: 'overwrite' } as const;
    await putFile(world.ctx, target, put, new Blob(['data']).stream());
    await putFile(world.ctx, target, put, null);
    expect(sent).toEqual(['data', '']);
    expect(queries).toMatchObject([{ action: 'put', put }, { action: 'put' }]);
  });

  it('opens no stream where there is no content', async () => {
    answer(() => new Response(null, { status: 500 }));
    const put = { type: 'directory', mode: null, uid: 1, gid: null, write: 'overwrite' } as const;
    await putFile(world.ctx, target, put, null);
    await deleteFile(world.ctx, target);
    expect(world.asked.opened).toEqual([]);
    expect(queries).toMatchObject([
      { action: 'put', put, streamId: null },
      { action: 'delete', put: null, streamId: null },
    ]);
  });

  it('reads the names in a directory', async () => {
    expect(await readEntries(new Blob(['["b","ä"]']).stream())).toEqual(['b', 'ä']);
    await expect(readEntries(new Blob(['["b",']).stream())).rejects.toMatchObject({ code: 'unavailable' });
  });

  it("says Not Found, LXD's text, for a missing file", async () => {
    const error = { code: 'not_found', message: 'ENOENT: /etc/hosts' };
    answer(() => Response.json({ error }, { status: 404 }));
    await expect(openFile(world.ctx, target)).rejects.toMatchObject({ code: 'not_found', message: 'Not Found' });
  });

  it('passes on what the member refuses', async () => {
    const error = { code: 'failed', message: 'Directory is not empty' };
    answer(() => Response.json({ error }, { status: 500 }));
    await expect(openFile(world.ctx, target)).rejects.toMatchObject({ message: 'Directory is not empty' });
    world.objects.links.query = () => Promise.reject(new AppError('failed', 'Directory is not empty'));
    await expect(deleteFile(world.ctx, target)).rejects.toMatchObject({ message: 'Directory is not empty' });
    world.objects.links.query = () => Promise.reject(new AppError('not_found', 'ENOENT'));
    await expect(deleteFile(world.ctx, target)).rejects.toMatchObject({ code: 'not_found', message: 'Not Found' });
  });

  it('ends the stream with the error of the member that did not open the file', async () => {
    let end: (error: unknown) => void = () => {};
    world.objects.links.query = () => Promise.reject(new AppError('bad_request', 'Not inside the instance'));
    world.objects.streams.transfer = () =>
      new Promise((_, reject) => {
        end = reject;
      });
    world.objects.streams.abort = async (_id, reason) => end(unavailable(reason));
    await expect(openFile(world.ctx, target)).rejects.toMatchObject({
      code: 'bad_request',
      message: 'Not inside the instance',
    });
  });

  it('refuses while the member is away, before a stream is opened', async () => {
    await world.db.update(instances).set({ member: 'node2' }).where(eq(instances.name, 'c1'));
    await expect(openFile(world.ctx, target)).rejects.toMatchObject({ code: 'unavailable' });
    expect(world.asked.opened).toEqual([]);
  });

  it.each(['', 'a\0b', 'x'.repeat(5000)])('refuses the path %j', (path) => {
    expect(() => checkPath(path)).toThrow(AppError);
  });

  it('adds the leading slash that clients leave out', () => {
    expect(checkPath('etc/hosts')).toBe('/etc/hosts');
    expect(checkPath('/etc/hosts')).toBe('/etc/hosts');
  });
});
