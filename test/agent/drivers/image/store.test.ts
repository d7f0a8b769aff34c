import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createImageStore } from '#agent/drivers/image/index.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { describeImage, file, GOOD, METADATA, placeImage, symlink, tarGz } from './archives.ts';

let dataDir = '';
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'longshore-image-'));
});
afterEach(() => rm(dataDir, { recursive: true }));

/** A store that is served `parts`, and how often it asked. */
function serve(parts: Record<string, Buffer>) {
  const fetchPart = vi.fn(async (_fingerprint: string, part: string) => {
    const bytes = parts[part] ?? Buffer.alloc(0);
    return new ReadableStream<Uint8Array>({
      pull(controller) {
        for (let offset = 0; offset < bytes.length; offset += 1000) {
          controller.enqueue(new Uint8Array(bytes.subarray(offset, offset + 1000)));
        }
        controller.close();
      },
    });
  });
  return { fetchPart, store: createImageStore({ exec, dataDir, log: silentLog, fetchPart }) };
}

const stored = async () => readdir(join(dataDir, 'images'));

describe('fetching', () => {
  it('downloads an image once under parallel calls, and never again', async () => {
    const unified = await tarGz(GOOD);
    const image = describeImage({ unified });
    const { store, fetchPart } = serve({ unified });
    const news: [string, number][] = [];
    const progress = (part: string, percent: number) => void news.push([part, percent]);
    await Promise.all(Array.from({ length: 8 }, () => store.ensure(image, { progress })));
    await store.ensure(image);
    expect(fetchPart).toHaveBeenCalledTimes(1);
    expect(await stored()).toEqual([image.fingerprint]);
    expect(news.at(-1)).toEqual(['unified', 100]);
  });

  it('verifies both parts of a split image together', async () => {
    const parts = { metadata: await tarGz(GOOD.slice(0, 3)), rootfs: await tarGz(GOOD.slice(3)) };
    const { store } = serve(parts);
    await store.ensure(describeImage(parts));
    expect((await stored()).length).toBe(1);
  });

  it('keeps nothing of an image with a wrong fingerprint', async () => {
    const unified = await tarGz(GOOD);
    const image = { ...describeImage({ unified }), fingerprint: 'a'.repeat(64) };
    await expect(serve({ unified }).store.ensure(image)).rejects.toMatchObject({ code: 'bad_request' });
    expect(await stored()).toEqual([]);
  });

  it.each([
    ['larger', 'bad_request', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('more')])],
    ['shorter', 'unavailable', (bytes: Buffer) => bytes.subarray(1)],
  ])('refuses a part that is %s than announced', async (_, code, change) => {
    const unified = await tarGz(GOOD);
    const { store } = serve({ unified: change(unified) });
    await expect(store.ensure(describeImage({ unified }))).rejects.toMatchObject({ code });
    expect(await stored()).toEqual([]);
  });

  it('goes on for the others when one caller gives up', async () => {
    const unified = await tarGz(GOOD);
    const image = describeImage({ unified });
    const { store } = serve({ unified });
    const abort = new AbortController();
    const [quitter, other] = [store.ensure(image, { signal: abort.signal }), store.ensure(image)];
    abort.abort();
    await expect(quitter).rejects.toMatchObject({ code: 'cancelled' });
    await other;
    expect(await stored()).toEqual([image.fingerprint]);
  });

  it('stops the download when nobody waits for it any more, and can start again', async () => {
    const unified = await tarGz(GOOD);
    const image = describeImage({ unified });
    let stuck = true;
    const whole = serve({ unified });
    const store = createImageStore({
      exec,
      dataDir,
      log: silentLog,
      fetchPart: async (fingerprint, part, signal) => {
        if (!stuck) return whole.fetchPart(fingerprint, part);
        return new ReadableStream({
          start: (controller) => signal?.addEventListener('abort', () => controller.error(new Error('aborted'))),
        });
      },
    });
    const abort = new AbortController();
    const first = store.ensure(image, { signal: abort.signal });
    abort.abort();
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    stuck = false;
    await store.ensure(image);
    expect(await stored()).toEqual([image.fingerprint]);
  });

  it('removes what an earlier process left half downloaded', async () => {
    await mkdir(join(dataDir, 'images/.left.part'), { recursive: true });
    const unified = await tarGz(GOOD);
    const later = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000);
    const { store } = serve({ unified });
    later.mockRestore();
    await store.ensure(describeImage({ unified }));
    expect((await stored()).some((name) => name.startsWith('.'))).toBe(false);
  });

  it('forgets an image, and has done so when asked again', async () => {
    const unified = await tarGz(GOOD);
    const { store } = serve({ unified });
    const image = await placeImage(dataDir, { unified });
    await store.forget(image.fingerprint);
    await store.forget(image.fingerprint);
    expect(await stored()).toEqual([]);
    await expect(store.forget('../..')).rejects.toMatchObject({ code: 'bad_request' });
  });
});

describe('reading metadata.yaml', () => {
  const inspect = async (entries: Parameters<typeof tarGz>[0]) =>
    serve({}).store.inspect(await placeImage(dataDir, { unified: await tarGz(entries) }));

  it('gives architecture, dates and properties, and keeps a release as it is written', async () => {
    expect(await inspect(GOOD)).toEqual({
      architecture: 'x86_64',
      createdAt: '2023-11-14T22:13:20.000Z',
      expiresAt: null,
      properties: { os: 'Tiny', release: '1.10' },
    });
  });

  it('finds it under ./ as well', async () => {
    expect((await inspect([file('./metadata.yaml', METADATA)])).architecture).toBe('x86_64');
  });

  const bomb = `a: &a [x,x]\n${Array.from({ length: 20 }, (_, i) => `b${i}: [*a, *a, *a]`).join('\n')}\n${METADATA}`;
  it.each([
    ['is missing', [file('rootfs/x', '')], 'Metadata tarball has no metadata.yaml'],
    ['is a link', [symlink('metadata.yaml', '/etc/passwd')], /not a regular file/],
    ['is huge', [file('metadata.yaml', `# ${'x'.repeat(2 ** 20)}\n${METADATA}`)], /too large/],
    ['is not YAML', [file('metadata.yaml', 'a: [')], /malformed YAML/],
    ['has no architecture', [file('metadata.yaml', 'creation_date: 1700000000')], /architecture/],
    ['has no creation date', [file('metadata.yaml', 'architecture: x86_64')], /creation_date/],
    ['is an alias bomb', [file('metadata.yaml', bomb)], /too many aliases/],
  ])('refuses an image whose metadata %s', async (_, entries, message) => {
    const refused = inspect(entries);
    await expect(refused).rejects.toMatchObject({ code: 'bad_request' });
    await expect(refused).rejects.toThrow(message);
  });
});
