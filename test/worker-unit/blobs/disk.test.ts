/** The real disk service: workerd itself, with a directory of its own. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createDiskStore } from '#worker/blobs/disk.ts';
import type { BlobStore } from '#worker/blobs/store.ts';

// The package has no types; the native program's path is its default export.
const workerd = String(createRequire(import.meta.url)('workerd').default);

let directory: string;
let store: BlobStore;
let stop: () => Promise<void>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'longshore-disk-'));
  await mkdir(join(directory, 'blobs'));
  const port = await freePort();
  const config = join(directory, 'config.capnp');
  await writeFile(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "disk", disk = (path = "${join(directory, 'blobs')}", writable = true)) ],
  sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "disk") ]
);`,
  );
  const child = spawn(workerd, ['serve', config], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  stop = async () => {
    child.kill();
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  const at = (url: string) => url.replace('http://disk', `http://127.0.0.1:${port}`);
  store = createDiskStore({ fetch: (url, init) => fetch(at(url), init) });
  await vi.waitFor(() => store.get('nothing'), { timeout: 10_000 });
});
afterAll(() => stop());

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

const body = (chunks: number, fail = false) => {
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === chunks) return fail ? controller.error(new Error('connection lost')) : controller.close();
      sent += 1;
      controller.enqueue(new Uint8Array(64 * 1024).fill(sent));
    },
  });
};

it('keeps what was put, of unknown length, and gives it back with its size', async () => {
  await store.put('uploads/a-unified', body(20));
  const blob = await store.get('uploads/a-unified');
  expect(blob?.sizeBytes).toBe(20 * 64 * 1024);
  const bytes = new Uint8Array(await new Response(blob?.body).arrayBuffer());
  expect([bytes.byteLength, bytes[0], bytes.at(-1)]).toEqual([20 * 64 * 1024, 1, 20]);
});

it('deletes, also what is not there', async () => {
  await store.put('uploads/b-unified', body(1));
  await store.delete('uploads/b-unified');
  await store.delete('uploads/b-unified');
  expect(await store.get('uploads/b-unified')).toBeNull();
});

it('leaves nothing of a put that broke off', async () => {
  await expect(store.put('uploads/c-unified', body(3, true))).rejects.toThrow();
  expect(await store.get('uploads/c-unified')).toBeNull();
  expect((await readdir(join(directory, 'blobs', 'uploads'))).filter((name) => name.includes('c-unified'))).toEqual([]);
});
