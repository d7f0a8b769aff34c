import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { InstanceRoot } from '#agent/drivers/instance/driver.ts';
import { silentLog } from '#agent/log.ts';
import { serveFile } from '#agent/streams/files.ts';
import { type AgentStream, openAgentStream } from '#agent/streams/stream.ts';
import type { QueryParams } from '#protocol/queries.ts';
import { encodeChunk } from '#protocol/stream.ts';
import { type FakeControlPlane, type Peer, startControlPlane } from '../fakes/control-plane.ts';

type Put = NonNullable<QueryParams<'file.open'>['put']>;

let plane: FakeControlPlane;
let directory: string;
let stream: AgentStream;
let peer: Peer;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-files-'));
  plane = await startControlPlane();
  stream = await openAgentStream({ log: silentLog }, new WebSocket(plane.address));
  await vi.waitFor(() => expect(plane.peers).toHaveLength(1));
  const [first] = plane.peers;
  if (first === undefined) throw new Error('no peer');
  peer = first;
});
afterEach(async () => {
  await plane.close();
  rmSync(directory, { recursive: true });
});

function openRoot(): InstanceRoot {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const same = (id: number) => id;
  return { fd, toHostUid: same, toHostGid: same, fromHostUid: same, fromHostGid: same, close: () => closeSync(fd) };
}

const serve = (action: 'get' | 'put' | 'delete', path: string, put: Partial<Put> | null = null) =>
  serveFile({ log: silentLog }, stream, openRoot(), {
    project: 'default',
    name: 'c1',
    streamId: 's',
    action,
    path,
    put: put === null ? null : { type: 'file', mode: null, uid: null, gid: null, write: 'overwrite', ...put },
  });
const content = (text: string) => peer.socket.send(encodeChunk(0, Buffer.from(text)));
const end = () => peer.send({ type: 'end', channel: 0 });
const types = () => peer.frames.map((frame) => frame.type).filter((type) => type !== 'credit');

describe('get', () => {
  it('tells what the file is, and sends its bytes only after the start', async () => {
    writeFileSync(join(directory, 'a'), 'x'.repeat(600_000), { mode: 0o640 });
    const served = serve('get', '/a');
    await vi.waitFor(() => expect(types()).toEqual(['head']));
    expect(peer.frames[0]?.head).toMatchObject({ type: 'file', mode: 0o640, uid: 0, gid: 0, sizeBytes: 600_000 });
    expect(peer.binary).toHaveLength(0);
    peer.send({ type: 'start' });
    await served;
    expect(types()).toEqual(['head', 'end']);
    expect(peer.binary.map((message) => message.length - 1)).toEqual([262_144, 262_144, 75_712]);
  });

  it('lists a directory and resolves a symlink', async () => {
    mkdirSync(join(directory, 'd'));
    writeFileSync(join(directory, 'd/b'), '');
    writeFileSync(join(directory, 'd/a'), '');
    await serve('get', 'd');
    expect(peer.frames[0]?.head).toMatchObject({ type: 'directory', entries: ['a', 'b'], target: null });
  });

  it('tells where a symlink leads, never what the host has there', async () => {
    symlinkSync('/etc/passwd', join(directory, 'link'));
    await serve('get', 'link');
    expect(peer.frames[0]?.head).toMatchObject({ type: 'symlink', target: '/etc/passwd', sizeBytes: 0 });
    expect(peer.binary).toHaveLength(0);
  });

  it('of something missing is LXD’s 404', async () => {
    await serve('get', '/nope');
    expect(peer.frames).toEqual([{ type: 'error', error: { code: 'not_found', message: 'Not Found' } }]);
  });
});

describe('put', () => {
  it('makes a file with mode and owner', async () => {
    const served = serve('put', 'new', { mode: 0o600, uid: 12, gid: 34 });
    content('hel');
    content('lo');
    end();
    await served;
    expect(readFileSync(join(directory, 'new'), 'utf8')).toBe('hello');
    expect(statSync(join(directory, 'new'))).toMatchObject({ uid: 12, gid: 34, mode: 0o100600 });
    expect(types()).toEqual(['done']);
  });

  it('keeps mode and owner of a file that is there', async () => {
    writeFileSync(join(directory, 'old'), 'a longer text', { mode: 0o751 });
    const served = serve('put', 'old', { mode: 0o600, uid: 12 });
    content('new');
    end();
    await served;
    expect(readFileSync(join(directory, 'old'), 'utf8')).toBe('new');
    expect(statSync(join(directory, 'old')).mode & 0o777).toBe(0o751);
  });

  it('appends', async () => {
    writeFileSync(join(directory, 'log'), 'one');
    const served = serve('put', 'log', { write: 'append' });
    content('two');
    end();
    await served;
    expect(readFileSync(join(directory, 'log'), 'utf8')).toBe('onetwo');
  });

  it('leaves no new file behind when the client goes away half-way', async () => {
    const served = serve('put', 'half', {});
    content('half of it');
    await vi.waitFor(() => expect(existsSync(join(directory, 'half'))).toBe(true));
    peer.send({ type: 'abort', reason: 'The client is gone' });
    await served;
    expect(existsSync(join(directory, 'half'))).toBe(false);
  });

  it('makes directories and symlinks', async () => {
    await serve('put', 'dir', { type: 'directory', mode: 0o711 });
    expect(statSync(join(directory, 'dir')).mode & 0o777).toBe(0o711);
  });

  it('takes a symlink’s target from the body', async () => {
    const served = serve('put', 'link', { type: 'symlink' });
    content('/etc/hosts');
    end();
    await served;
    expect(types()).toEqual(['done']);
  });

  it('into a missing directory is LXD’s 404', async () => {
    const served = serve('put', 'no/where', {});
    end();
    await served;
    expect(peer.frames.at(-1)).toMatchObject({ type: 'error', error: { code: 'not_found', message: 'Not Found' } });
  });
});

it('deletes a file, and says when it is done', async () => {
  writeFileSync(join(directory, 'a'), '');
  await serve('delete', 'a');
  expect(existsSync(join(directory, 'a'))).toBe(false);
  expect(types()).toEqual(['done']);
});
