import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InstanceRoot } from '#agent/drivers/instance/driver.ts';
import {
  createFileInRoot,
  listDirectoryInRoot,
  makeDirectoryInRoot,
  makeSymlinkInRoot,
  openFileInRoot,
  removeInRoot,
  resolveLinkInRoot,
  statInRoot,
} from '#agent/drivers/instance/files.ts';

const owner = { uid: 0, gid: 0 };
let base: string;
let top: string;
let root: InstanceRoot;

beforeEach(() => {
  base = mkdtempSync(join(os.tmpdir(), 'lsrt-files-'));
  top = join(base, 'rootfs');
  mkdirSync(join(top, 'etc'), { recursive: true });
  writeFileSync(join(top, 'etc/inside'), 'inside');
  writeFileSync(join(base, 'secret'), 'host secret');
  mkdirSync(join(base, 'victim'));
  const same = (id: number) => id;
  const fd = openSync(top, constants.O_RDONLY | constants.O_DIRECTORY);
  root = { fd, toHostUid: same, toHostGid: same, fromHostUid: same, fromHostGid: same, close: () => closeSync(fd) };
});
afterEach(() => {
  root.close();
  rmSync(base, { recursive: true, force: true });
});

const read = (path: string) => {
  const fd = openFileInRoot(root, path);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
};
const write = (path: string, text: string, options: Parameters<typeof createFileInRoot>[2] = {}) => {
  const { fd, existed } = createFileInRoot(root, path, options);
  try {
    writeFileSync(fd, text);
  } finally {
    closeSync(fd);
  }
  return existed;
};

/** Ways from inside to the directory that holds the root. `/out/<file>` is tried through each. */
const ESCAPES: [string, () => void][] = [
  ['an absolute directory link', () => symlinkSync(base, join(top, 'out'))],
  ['a link of ..', () => symlinkSync('../../../../../../../../..' + base, join(top, 'out'))],
  ['a relative link of ..', () => symlinkSync('..', join(top, 'out'))],
  ['a link to a magic link', () => symlinkSync(`/proc/self/root${base}`, join(top, 'out'))],
];

describe.each(ESCAPES)('%s', (_, plant) => {
  beforeEach(() => plant());

  it('leads no read, write, list, making or removal to the host', () => {
    expect(() => read('/out/secret')).toThrow();
    expect(() => statInRoot(root, '/out/secret')).toThrow();
    expect(() => listDirectoryInRoot(root, '/out/victim')).toThrow();
    expect(() => removeInRoot(root, '/out/secret')).toThrow();
    for (const attempt of [
      () => write('/out/secret', 'overwritten'),
      () => write('/out/new', 'new'),
      () => makeDirectoryInRoot(root, '/out/newdir', { mode: 0o755, ...owner }),
      () => makeSymlinkInRoot(root, '/out/newlink', 'x', owner),
    ]) {
      try {
        attempt();
      } catch {
        // Refused, or made inside: both are right, and the host is looked at below.
      }
    }
    expect(readFileSync(join(base, 'secret'), 'utf8')).toBe('host secret');
    for (const name of ['new', 'newdir', 'newlink']) expect(existsSync(join(base, name))).toBe(false);
  });
});

describe('file links', () => {
  it.each([
    ['absolute', (target: string) => target],
    ['relative', () => '../../secret'],
    ['magic', (target: string) => `/proc/self/root${target}`],
  ])('that are %s and point at a host file read and write nothing of it', (_, targetOf) => {
    symlinkSync(targetOf(join(base, 'secret')), join(top, 'etc/link'));
    expect(() => read('/etc/link')).toThrow();
    try {
      write('/etc/link', 'overwritten');
    } catch {
      // Refused is right, too.
    }
    expect(readFileSync(join(base, 'secret'), 'utf8')).toBe('host secret');
  });

  it('are followed inside, and removed themselves', () => {
    symlinkSync('/etc/inside', join(top, 'link'));
    expect(read('/link')).toBe('inside');
    expect(statInRoot(root, '/link').type).toBe('symlink');
    expect(resolveLinkInRoot(root, '/link')).toBe('/etc/inside');
    removeInRoot(root, '/link');
    expect(read('/etc/inside')).toBe('inside');
  });

  it('resolve to paths inside, dangling or leaving ones as text', () => {
    symlinkSync('inside', join(top, 'etc/near'));
    symlinkSync('../../../../gone', join(top, 'etc/far'));
    expect(resolveLinkInRoot(root, '/etc/near')).toBe('/etc/inside');
    expect(resolveLinkInRoot(root, '/etc/far')).toBe('/gone');
  });

  it('that dangle get their target made, inside', () => {
    symlinkSync('../run/longshore-test.conf', join(top, 'etc/longshore-test.conf'));
    mkdirSync(join(top, 'run'));
    expect(write('/etc/longshore-test.conf', 'made')).toBe(false);
    expect(readFileSync(join(top, 'run/longshore-test.conf'), 'utf8')).toBe('made');
    symlinkSync('loop', join(top, 'loop'));
    expect(() => write('/loop', 'x')).toThrow(/Invalid path/);
  });
});

describe('what is no regular file', () => {
  it('is never opened: neither a FIFO nor a device, and nothing blocks', () => {
    execFileSync('mkfifo', [join(top, 'fifo')]);
    execFileSync('mknod', [join(top, 'zero'), 'c', '1', '5']);
    for (const path of ['/fifo', '/zero', '/etc']) {
      expect(() => read(path)).toThrow(/not a regular file|is a directory/);
      expect(() => write(path, 'x')).toThrow(/not a regular file|is a directory/);
    }
    expect(statInRoot(root, '/fifo').type).toBe('other');
    removeInRoot(root, '/fifo');
  });
});

describe('making files', () => {
  it('sets mode and owner of new ones, keeps those of existing ones', () => {
    expect(write('/etc/new', 'one')).toBe(false);
    expect(statInRoot(root, '/etc/new')).toMatchObject({ mode: 0o644, uid: 0, gid: 0 });
    write('/etc/own', 'x', { mode: 0o4750, uid: 12, gid: 34 });
    expect(statInRoot(root, '/etc/own')).toMatchObject({ uid: 12, gid: 34 });
    expect(write('/etc/own', 'longer', { mode: 0o600, uid: 1, gid: 1 })).toBe(true);
    expect(statInRoot(root, '/etc/own')).toMatchObject({ uid: 12, gid: 34, size: 6 });
    write('/etc/own', '!', { append: true });
    expect(read('/etc/own')).toBe('longer!');
  });

  it('keeps the owner asked for below a set-gid directory', () => {
    mkdirSync(join(top, 'shared'));
    execFileSync('chown', ['0:77', join(top, 'shared')]);
    execFileSync('chmod', ['2775', join(top, 'shared')]);
    write('/shared/file', 'x', { uid: 5, gid: 6 });
    makeDirectoryInRoot(root, '/shared/dir', { mode: 0o750, uid: 5, gid: 6 });
    makeSymlinkInRoot(root, '/shared/link', 'file', { uid: 5, gid: 6 });
    for (const path of ['/shared/file', '/shared/dir', '/shared/link']) {
      expect(statInRoot(root, path)).toMatchObject({ uid: 5, gid: 6 });
    }
    expect(statInRoot(root, '/shared/dir').mode & 0o777).toBe(0o750);
    expect(process.getuid?.()).toBe(0);
    expect(statSync(join(top, 'shared')).gid).toBe(77);
  });

  it('answers not_found for a missing parent, and for everything else that is missing', () => {
    for (const attempt of [
      () => write('/no/file', 'x'),
      () => makeDirectoryInRoot(root, '/no/dir', { mode: 0o755, ...owner }),
      () => makeSymlinkInRoot(root, '/no/link', 'x', owner),
      () => read('/gone'),
      () => statInRoot(root, '/etc/inside/below'),
      () => listDirectoryInRoot(root, '/gone'),
      () => removeInRoot(root, '/gone'),
      () => resolveLinkInRoot(root, '/gone'),
    ]) {
      expect(attempt).toThrow(expect.objectContaining({ code: 'not_found', message: 'Not Found' }));
    }
  });

  it('refuses names that are none', () => {
    for (const path of ['', '/', '.', '/etc/..', '/etc/\0x']) {
      expect(() => write(path, 'x')).toThrow(expect.objectContaining({ code: 'bad_request' }));
      expect(() => makeSymlinkInRoot(root, path, 'x', owner)).toThrow(expect.objectContaining({ code: 'bad_request' }));
    }
  });
});

describe('directories and links', () => {
  it('may exist already when they are the same', () => {
    makeDirectoryInRoot(root, '/etc', { mode: 0o700, ...owner });
    expect(statInRoot(root, '/etc').mode).not.toBe(0o700);
    makeSymlinkInRoot(root, '/l', 'target', owner);
    makeSymlinkInRoot(root, '/l', 'target', owner);
    expect(() => makeSymlinkInRoot(root, '/l', 'other', owner)).toThrow(expect.objectContaining({ code: 'conflict' }));
    expect(readlinkSync(join(top, 'l'))).toBe('target');
    expect(listDirectoryInRoot(root, '/')).toEqual(['etc', 'l']);
  });

  it('are removed only when empty', () => {
    expect(() => removeInRoot(root, '/etc')).toThrow(/^Directory not empty/);
    removeInRoot(root, '/etc/inside');
    removeInRoot(root, '/etc');
    expect(listDirectoryInRoot(root, '/')).toEqual([]);
  });
});
