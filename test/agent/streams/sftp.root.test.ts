import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InstanceRoot } from '#agent/drivers/instance/driver.ts';
import { silentLog } from '#agent/log.ts';
import { createSftpSession, type SftpSession } from '#agent/streams/sftp/session.ts';
import {
  type Attributes,
  createPacketCutter,
  encodeAttributes,
  FX,
  field,
  type PacketReader,
  readPacket,
  STATUS,
  uint32,
} from '#agent/streams/sftp/wire.ts';
import { eventually } from '#test/eventually.ts';

/** Ids inside begin here on disk. */
const SHIFT = 100_000;
const READ = 1;
const WRITE = 2;
const CREATE = 8;
const TRUNCATE = 16;
const EXCLUSIVE = 32;
const IS_DIRECTORY = 0o040000;

let base = '';
let top = '';
let session: SftpSession;
let openRoots = 0;

function openRoot(): InstanceRoot {
  const fd = openSync(top, constants.O_RDONLY | constants.O_DIRECTORY);
  openRoots += 1;
  const inside = (id: number) => (id < SHIFT ? 65534 : id - SHIFT);
  const outside = (id: number) => id + SHIFT;
  const close = () => {
    openRoots -= 1;
    closeSync(fd);
  };
  return { fd, toHostUid: outside, toHostGid: outside, fromHostUid: inside, fromHostGid: inside, close };
}

beforeEach(() => {
  base = mkdtempSync(join(os.tmpdir(), 'lsrt-sftp-'));
  top = join(base, 'rootfs');
  mkdirSync(join(top, 'etc'), { recursive: true });
  writeFileSync(join(base, 'secret'), 'host secret');
  openRoots = 0;
  session = createSftpSession({ log: silentLog, openRoot: async () => openRoot() });
});
afterEach(() => {
  session.close();
  rmSync(base, { recursive: true, force: true });
});

/** Sends one request; resolves to the kind of the answer and what is in it behind the id. */
async function ask(kind: number, ...parts: Buffer[]): Promise<{ kind: number; rest: PacketReader }> {
  const [packet] = createPacketCutter()(
    await session.answer(Buffer.concat([Buffer.from([kind]), uint32(7), ...parts])),
  );
  const rest = readPacket(packet ?? Buffer.alloc(0));
  const answered = rest.byte();
  expect(rest.uint32()).toBe(7);
  return { kind: answered, rest };
}

const statusOf = async (kind: number, ...parts: Buffer[]): Promise<number> => {
  const { kind: answered, rest } = await ask(kind, ...parts);
  expect(answered).toBe(FX.status);
  return rest.uint32();
};

const none = encodeAttributes({});
const uint64 = (value: number) => Buffer.concat([uint32(Math.floor(value / 2 ** 32)), uint32(value % 2 ** 32)]);

async function open(path: string, flags: number, attributes: Attributes = {}): Promise<Buffer> {
  const { kind, rest } = await ask(FX.open, field(path), uint32(flags), encodeAttributes(attributes));
  if (kind !== FX.handle) throw new Error(`status ${rest.uint32()}: ${rest.text()}`);
  return field(rest.text());
}

async function put(path: string, content: string, attributes: Attributes = {}): Promise<void> {
  const handle = await open(path, WRITE | CREATE | TRUNCATE, attributes);
  expect(await statusOf(FX.write, handle, uint64(0), field(content))).toBe(STATUS.ok);
  expect(await statusOf(FX.close, handle)).toBe(STATUS.ok);
}

async function get(path: string): Promise<string> {
  const handle = await open(path, READ);
  const { rest } = await ask(FX.read, handle, uint64(0), uint32(1000));
  expect(await statusOf(FX.read, handle, uint64(1000), uint32(1000))).toBe(STATUS.eof);
  await statusOf(FX.close, handle);
  return rest.text();
}

async function names(path: string, lines: string[] = []): Promise<string[]> {
  const { rest } = await ask(FX.opendir, field(path));
  const handle = field(rest.text());
  const found: string[] = [];
  for (;;) {
    const { kind, rest: answer } = await ask(FX.readdir, handle);
    if (kind === FX.status) break;
    for (let left = answer.uint32(); left > 0; left--) {
      found.push(answer.text());
      lines.push(answer.text());
      answer.attributes();
    }
  }
  expect(await statusOf(FX.close, handle)).toBe(STATUS.ok);
  return found;
}

const lstat = async (path: string): Promise<Attributes> => (await ask(FX.lstat, field(path))).rest.attributes();

describe('an SFTP session', () => {
  it('speaks version 3', async () => {
    const [packet] = createPacketCutter()(await session.answer(Buffer.concat([Buffer.from([FX.init]), uint32(3)])));
    const answer = readPacket(packet ?? Buffer.alloc(0));
    expect([answer.byte(), answer.uint32()]).toEqual([FX.version, 3]);
  });

  it('writes and reads files, their owner and mode as the container sees them', async () => {
    await put('/etc/motd', 'hello', { mode: 0o640, owner: { uid: 5, gid: 6 } });
    expect(await get('/etc/motd')).toBe('hello');
    const stats = statSync(join(top, 'etc/motd'));
    expect([stats.uid, stats.gid, stats.mode & 0o777]).toEqual([SHIFT + 5, SHIFT + 6, 0o640]);
    expect(await lstat('/etc/motd')).toMatchObject({ size: 5, owner: { uid: 5, gid: 6 }, mode: 0o100640 });
    await put('/etc/motd', 'bye');
    expect(await get('/etc/motd')).toBe('bye');
  });

  it('writes wherever in the file the client says, in any order', async () => {
    const handle = await open('/etc/parts', READ | WRITE | CREATE | TRUNCATE);
    await statusOf(FX.write, handle, uint64(3), field('def'));
    await statusOf(FX.write, handle, uint64(0), field('abc'));
    expect((await ask(FX.read, handle, uint64(1), uint32(4))).rest.text()).toBe('bcde');
    await statusOf(FX.close, handle);
  });

  it('opens a directory to be looked at, not read', async () => {
    const handle = await open('/etc', READ);
    expect((await ask(FX.fstat, handle)).rest.attributes().mode).toBe(IS_DIRECTORY | statSync(join(top, 'etc')).mode);
    expect(await statusOf(FX.read, handle, uint64(0), uint32(10))).toBe(STATUS.failure);
    expect(await statusOf(FX.close, handle)).toBe(STATUS.ok);
  });

  it('changes attributes by path and by handle', async () => {
    await put('/etc/file', 'content');
    const change = { mode: 0o4755, owner: { uid: 1, gid: 2 }, times: { accessed: 1000, modified: 2000 } };
    expect(await statusOf(FX.setstat, field('/etc/file'), encodeAttributes(change))).toBe(STATUS.ok);
    expect(await lstat('/etc/file')).toMatchObject({ ...change, mode: 0o104755 });
    const handle = await open('/etc/file', WRITE);
    expect(await statusOf(FX.fsetstat, handle, encodeAttributes({ size: 3, mode: 0o600 }))).toBe(STATUS.ok);
    await statusOf(FX.close, handle);
    expect(await lstat('/etc/file')).toMatchObject({ size: 3, mode: 0o100600 });
  });

  it('makes, lists, renames and removes', async () => {
    expect(await statusOf(FX.mkdir, field('/srv'), none)).toBe(STATUS.ok);
    expect(await statusOf(FX.mkdir, field('/srv'), none)).toBe(STATUS.failure);
    expect((await lstat('/srv')).mode).toBe(IS_DIRECTORY | 0o755);
    const many = Array.from({ length: 250 }, (_, index) => `file${String(index).padStart(3, '0')}`);
    for (const name of many) writeFileSync(join(top, 'srv', name), '');
    expect(await names('/srv')).toEqual(many);
    const lines: string[] = [];
    await names('/', lines);
    expect(lines).toContainEqual(expect.stringMatching(/^drwxr-xr-x +0 +0 +\d+ \d{4}-\d\d-\d\d \d\d:\d\d srv$/));
    expect(await statusOf(FX.rmdir, field('/srv'))).toBe(STATUS.failure);
    expect(await statusOf(FX.rename, field('/srv/file000'), field('/etc/moved'))).toBe(STATUS.ok);
    expect(await statusOf(FX.rename, field('/srv/file001'), field('/etc/moved'))).toBe(STATUS.failure);
    const replace = field('posix-rename@openssh.com');
    expect(await statusOf(FX.extended, replace, field('/srv/file001'), field('/etc/moved'))).toBe(STATUS.ok);
    expect(await statusOf(FX.remove, field('/etc/moved'))).toBe(STATUS.ok);
    expect(await statusOf(FX.remove, field('/etc/moved'))).toBe(STATUS.noSuchFile);
    expect(await statusOf(FX.remove, field('/srv'))).toBe(STATUS.failure);
  });

  it('makes and reads links as they were written', async () => {
    expect(await statusOf(FX.symlink, field('../etc/motd'), field('/etc/link'))).toBe(STATUS.ok);
    const { rest } = await ask(FX.readlink, field('/etc/link'));
    expect([rest.uint32(), rest.text()]).toEqual([1, '../etc/motd']);
    const path = await ask(FX.realpath, field('.'));
    expect([path.rest.uint32(), path.rest.text()]).toEqual([1, '/']);
  });

  it('makes a file only when it is not there, if that is asked', async () => {
    await put('/etc/file', 'content');
    await expect(open('/etc/file', WRITE | CREATE | EXCLUSIVE)).rejects.toThrow(`status ${STATUS.failure}`);
    await expect(open('/etc/none', WRITE)).rejects.toThrow(`status ${STATUS.noSuchFile}`);
    await expect(open('/etc/none', READ)).rejects.toThrow(`status ${STATUS.noSuchFile}`);
  });
});

describe('a hostile tree or client', () => {
  it.each([
    ['an absolute link', () => symlinkSync(join(base, 'secret'), join(top, 'etc/leak'))],
    ['a link that climbs', () => symlinkSync('../../../../secret', join(top, 'etc/leak'))],
    ['a link to the host’s root', () => symlinkSync('/proc/self/root/../secret', join(top, 'etc/leak'))],
  ])('gets no file of the host by %s, nor changes one', async (_case, plant) => {
    plant();
    await expect(open('/etc/leak', READ)).rejects.toThrow();
    expect(await statusOf(FX.setstat, field('/etc/leak'), encodeAttributes({ mode: 0o777 }))).not.toBe(STATUS.ok);
    // At the end of a dangling link a file may be made, inside.
    await open('/etc/leak', WRITE | CREATE | TRUNCATE).catch(() => {});
    expect(readFileSync(join(base, 'secret'), 'utf8')).toBe('host secret');
    expect(statSync(join(base, 'secret')).mode & 0o777).not.toBe(0o777);
  });

  it('does not move anything in or out by a linked directory', async () => {
    symlinkSync(base, join(top, 'out'));
    await put('/etc/file', 'content');
    expect(await statusOf(FX.rename, field('/etc/file'), field('/out/file'))).toBe(STATUS.noSuchFile);
    expect(await statusOf(FX.rename, field('/out/secret'), field('/etc/stolen'))).toBe(STATUS.noSuchFile);
    expect(await statusOf(FX.rename, field('/etc/../../secret'), field('/etc/stolen'))).toBe(STATUS.noSuchFile);
    expect(readdirSync(base).sort()).toEqual(['rootfs', 'secret']);
    expect(existsSync(join(top, 'etc/stolen'))).toBe(false);
  });

  it('gets an error for a request that cannot be read, and the session goes on', async () => {
    expect(await statusOf(FX.open, field('/etc'))).toBe(STATUS.failure);
    expect(await statusOf(FX.read, field('no handle'), uint64(0), uint32(1))).toBe(STATUS.failure);
    expect(await statusOf(99)).toBe(STATUS.unsupported);
    expect(await names('/etc')).toEqual([]);
  });

  it('cannot use up the agent’s descriptors', async () => {
    await put('/etc/file', 'content');
    const opened = Array.from({ length: 300 }, () => open('/etc/file', READ));
    const results = await Promise.allSettled(opened);
    expect(results.filter((it) => it.status === 'fulfilled').length).toBeLessThanOrEqual(256);
    session.close();
    expect(openRoots).toBe(0);
  });

  it('is refused a packet of any size it likes', () => {
    expect(() => createPacketCutter()(uint32(100 * 1024 * 1024))).toThrow('invalid length');
  });
});

it('lets go of the instance while nothing is open', async () => {
  await put('/etc/file', 'content');
  await eventually(() => expect(openRoots).toBe(0));
  expect(await get('/etc/file')).toBe('content');
});
