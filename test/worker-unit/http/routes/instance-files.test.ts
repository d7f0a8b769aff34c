import { describe, expect, it } from 'vitest';
import { fileHeaders, readPut } from '#protocol/api/instance-file.ts';
import { FileHead } from '#protocol/stream.ts';
import { fileResponse } from '#worker/http/routes/instance-files.ts';

const head = (change: Partial<FileHead> = {}): FileHead =>
  FileHead.parse({
    type: 'file',
    mode: 0o100640,
    uid: 1000,
    gid: 100,
    sizeBytes: 2,
    modifiedAt: '2026-11-21T02:50:55.123Z',
    ...change,
  });

describe('readPut', () => {
  it.each<[Record<string, string>, object]>([
    [{}, { type: 'file', mode: null, uid: null, gid: null, write: 'overwrite' }],
    [
      { 'X-LXD-mode': '0640', 'X-LXD-uid': '0', 'X-LXD-gid': '4294967294' },
      { mode: 0o640, uid: 0, gid: 4294967294 },
    ],
    [
      { 'X-Incus-mode': '755', 'X-Incus-type': 'directory' },
      { mode: 0o755, type: 'directory' },
    ],
    [{ 'X-LXD-mode': '4755' }, { mode: 0o4755 }],
    [{ 'X-LXD-write': 'append' }, { write: 'append', type: 'file' }],
    [
      { 'X-LXD-type': 'symlink', 'X-LXD-uid': '', 'X-LXD-mode': '' },
      { type: 'symlink', uid: null, mode: null },
    ],
  ])('reads %j', (headers, expected) => {
    expect(readPut(new Headers(headers))).toMatchObject(expected);
  });

  it.each<Record<string, string>>([
    { 'X-LXD-mode': 'rwx' },
    { 'X-LXD-mode': '0888' },
    { 'X-LXD-mode': '10000' },
    { 'X-LXD-mode': '-1' },
    { 'X-LXD-uid': '-1' },
    { 'X-LXD-uid': '4294967295' },
    { 'X-LXD-uid': '0x0' },
    { 'X-LXD-gid': '1e3' },
    { 'X-Incus-gid': 'root' },
    { 'X-LXD-type': 'socket' },
    { 'X-LXD-write': 'truncate' },
    { 'X-LXD-write': 'append', 'X-LXD-type': 'directory' },
  ])('refuses %j', (headers) => {
    expect(() => readPut(new Headers(headers))).toThrow(/Invalid|Cannot/);
  });
});

describe('answers', () => {
  it('carry the attributes in both header families', () => {
    expect(fileHeaders(head())).toEqual({
      'x-lxd-uid': '1000',
      'x-incus-uid': '1000',
      'x-lxd-gid': '100',
      'x-incus-gid': '100',
      'x-lxd-mode': '0640',
      'x-incus-mode': '0640',
      'x-lxd-type': 'file',
      'x-incus-type': 'file',
      'x-lxd-modified': '2026-11-21 02:50:55 +0000 UTC',
      'x-incus-modified': '2026-11-21 02:50:55 +0000 UTC',
    });
  });

  it('are the bytes of a file', async () => {
    const response = await fileResponse('root/a.txt', head(), new Blob(['a\n']).stream());
    expect(response.headers.get('content-disposition')).toBe('inline;filename=a.txt');
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    expect(response.headers.get('content-length')).toBe('2');
    expect(await response.text()).toBe('a\n');
  });

  it('are the target of a symlink', async () => {
    const target = '/root/d/b.txt';
    const link = head({ type: 'symlink', sizeBytes: target.length });
    const response = await fileResponse('/root/ln', link, new Blob([target]).stream());
    expect(response.headers.get('content-length')).toBe('13');
    expect(await response.text()).toBe('/root/d/b.txt');
  });

  it('are the names in a directory, as JSON', async () => {
    const names = new Blob([JSON.stringify(['b.txt', 'sub'])]).stream();
    const response = await fileResponse('/root', head({ type: 'directory' }), names);
    expect(response.headers.get('x-lxd-type')).toBe('directory');
    expect(await response.json()).toMatchObject({ type: 'sync', metadata: ['b.txt', 'sub'] });
  });

  it('keep hostile file names out of the header', async () => {
    const response = await fileResponse('/tmp/a"\r\nx: y;ä', head(), null);
    expect(response.headers.get('content-disposition')).toBe('inline;filename=a___x: y__');
  });
});
