import { generateKeyPairSync, verify } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { signPayload } from '#agent/link/identity.ts';
import { createLink, type Link, type LinkHandlers, type LinkOptions } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import { helloPayload } from '#protocol/frames.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { eventually } from '#test/eventually.ts';
import { type FakeControlPlane, type Peer, startControlPlane } from '../fakes/control-plane.ts';

const keys = generateKeyPairSync('ed25519');
const nonce = 'n'.repeat(32);
const resources = {
  architecture: 'x86_64',
  kernel: 'Linux',
  kernelVersion: '6',
  osName: 'Debian',
  osVersion: '12',
  lxcVersion: '5',
  cpuCount: 2,
  memoryTotalBytes: 1,
  storageDrivers: [],
  interfaces: [],
  addresses: [],
};
const load = { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 2, cpuLoad: 0 };

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function controlPlane(onPeer?: (peer: Peer) => void): Promise<FakeControlPlane> {
  const plane = await startControlPlane(onPeer);
  cleanups.push(() => plane.close());
  return plane;
}

function startLink(server: string[], handlers: Partial<LinkHandlers> = {}, options: Partial<LinkOptions> = {}): Link {
  const link = createLink({
    server,
    fingerprint: null,
    member: 'host1',
    epoch: 7,
    identity: keys.privateKey,
    signature: signPayload,
    describeHost: async () => ({ resources, load }),
    log: silentLog,
    keepName: () => {},
    backoff: () => 5,
    ...options,
  });
  cleanups.push(() => link.stop());
  link.start({ onWelcome: () => {}, onFrame: () => {}, onRemoved: () => {}, ...handlers });
  return link;
}

const challenge = { type: 'challenge', nonce, protocol: 1 };
const welcome = { type: 'welcome', session: 'session-1', protocol: 1 };
/** Welcomes everybody who says hello. */
const welcoming = (peer: Peer) => {
  peer.send(challenge);
  peer.socket.once('message', () => peer.send(welcome));
};

describe('the handshake', () => {
  it('signs the nonce with the member, the epoch and the process', async () => {
    const plane = await controlPlane((peer) => peer.send(challenge));
    startLink([plane.address]);
    await eventually(() => expect(plane.peers[0]?.frames).toHaveLength(1));
    const hello = plane.peers[0]?.frames[0] ?? {};
    expect(hello).toMatchObject({ type: 'hello', member: 'host1', epoch: 7, protocol: PROTOCOL_VERSION });
    const payload = helloPayload({ nonce, member: 'host1', epoch: 7, processId: String(hello.processId) });
    expect(verify(null, payload, keys.publicKey, Buffer.from(String(hello.signature), 'base64'))).toBe(true);
    expect(plane.peers[0]?.request.url).toBe('/agent/link?member=host1');
  });

  it('speaks an older protocol when told so, and refuses what that does not have', async () => {
    const plane = await controlPlane(welcoming);
    const taken: string[] = [];
    startLink([plane.address], { onFrame: (frame) => taken.push(frame.type) }, { protocol: 1 });
    await eventually(() => expect(plane.peers[0]?.frames).toHaveLength(1));
    const [peer] = plane.peers;
    expect(peer?.frames[0]).toMatchObject({ type: 'hello', protocol: 1 });
    peer?.send({ type: 'command', id: 'new', name: 'agent.upgrade', params: {} });
    peer?.send({ type: 'command', id: 'old', name: 'image.delete', params: {} });
    await eventually(() => expect(taken).toEqual(['command']));
    expect(peer?.frames[1]).toMatchObject({ type: 'error', error: { message: 'Protocol 1 has no such frame' } });
  });

  it('keeps the session in memory and takes a renewed one', async () => {
    const plane = await controlPlane(welcoming);
    const link = startLink([plane.address]);
    await expect(link.whenUp(5_000)).resolves.toMatchObject({ token: 'session-1' });
    plane.peers[0]?.send({ type: 'session', session: 'session-2' });
    await eventually(() => expect(link.session()?.token).toBe('session-2'));
  });

  it('passes no work before the welcome', async () => {
    const onFrame = vi.fn();
    const plane = await controlPlane((peer) => {
      peer.send({ type: 'cancel', id: 'early' });
      peer.send(challenge);
    });
    startLink([plane.address], { onFrame });
    await eventually(() => expect(plane.peers[0]?.frames.map((frame) => frame.type)).toEqual(['error', 'hello']));
    expect(onFrame).not.toHaveBeenCalled();
  });
});

describe('frames', () => {
  it('that cannot be read are answered with an error, and the link goes on', async () => {
    const onFrame = vi.fn();
    const plane = await controlPlane(welcoming);
    const link = startLink([plane.address], { onFrame });
    await link.whenUp(5_000);
    const [peer] = plane.peers;
    for (const garbage of ['not json', '{"type":"nonsense"}', '{"type":"cancel"}', '[]', 'x'.repeat(2_000_000)]) {
      peer?.send(garbage);
    }
    peer?.socket.send(Buffer.from([1, 2, 3]));
    peer?.send({ type: 'cancel', id: 'good', unknownField: 1 });
    await eventually(() =>
      expect(onFrame).toHaveBeenCalledWith(expect.objectContaining({ type: 'cancel', id: 'good' })),
    );
    await eventually(() => expect(peer?.frames.filter((frame) => frame.type === 'error')).toHaveLength(6));
    expect(plane.peers).toHaveLength(1);
  });

  it('whose handler throws are answered with an error', async () => {
    const plane = await controlPlane(welcoming);
    const onFrame = () => {
      throw new Error('a bug');
    };
    await startLink([plane.address], { onFrame }).whenUp(5_000);
    plane.peers[0]?.send({ type: 'cancel', id: 'x' });
    await eventually(() =>
      expect(plane.peers[0]?.frames.at(-1)).toEqual({
        type: 'error',
        error: { code: 'internal', message: 'Internal error' },
      }),
    );
  });

  it('are dropped, and said to be, while there is no link', async () => {
    const plane = await controlPlane();
    const link = startLink([plane.address]);
    expect(link.send({ type: 'ack', id: 'x' })).toBe(false);
    expect(link.session()).toBeNull();
  });
});

describe('a lost link', () => {
  it('comes back by itself and says so', async () => {
    const onWelcome = vi.fn();
    const plane = await controlPlane(welcoming);
    startLink([plane.address], { onWelcome });
    await eventually(() => expect(onWelcome).toHaveBeenCalledTimes(1));
    plane.peers[0]?.socket.terminate();
    await eventually(() => expect(onWelcome).toHaveBeenCalledTimes(2));
    const processes = plane.peers.map((peer) => peer.frames[0]?.processId);
    expect(processes[0]).toBe(processes[1]);
  });

  it('tries the next address when one does not answer', async () => {
    const plane = await controlPlane(welcoming);
    const link = startLink(['http://127.0.0.1:1', plane.address]);
    await expect(link.whenUp(5_000)).resolves.toMatchObject({ token: 'session-1' });
  });

  it('leaves no session behind', async () => {
    let first = true;
    const plane = await controlPlane((peer) => {
      if (first) welcoming(peer);
      first = false;
    });
    const link = startLink([plane.address]);
    await link.whenUp(5_000);
    plane.peers[0]?.socket.close(4004);
    await eventually(() => expect(link.session()).toBeNull());
  });
});

it('tries a refusal again only when the control plane allows it', async () => {
  const refused = (retry: boolean) => ({ type: 'refused', error: { code: 'forbidden', message: 'no' }, retry });
  const soft = await controlPlane((peer) => peer.send(refused(true)));
  const hard = await controlPlane((peer) => peer.send(refused(false)));
  startLink([soft.address]);
  startLink([hard.address]);
  await eventually(() => expect(soft.peers.length).toBeGreaterThan(3));
  expect(hard.peers).toHaveLength(1);
});

it('stops while it is trying, waiting or connected', async () => {
  const plane = await controlPlane(welcoming);
  const nowhere = startLink(['http://127.0.0.1:1'], {}, { backoff: () => 60_000 });
  const connected = startLink([plane.address]);
  await connected.whenUp(5_000);
  await Promise.all([nowhere.stop(), connected.stop()]);
  expect(connected.session()).toBeNull();
});

describe('a refusal that says more', () => {
  const refused = (more: object) => ({
    type: 'refused',
    error: { code: 'conflict', message: 'why' },
    retry: true,
    ...more,
  });

  it('gives a new name: it is kept, and the next hello is signed for it at once', async () => {
    const kept: string[] = [];
    const plane = await controlPlane((peer) => {
      if (peer.request.url?.endsWith('host9')) return welcoming(peer);
      peer.send(challenge);
      peer.socket.once('message', () => peer.send(refused({ renamed: 'host9' })));
    });
    // The back-off would fail the test.
    const link = startLink([plane.address], {}, { keepName: (name) => kept.push(name), backoff: () => 60_000 });
    await link.whenUp(5_000);
    expect(kept).toEqual(['host9']);
    const hello = plane.peers[1]?.frames[0] ?? {};
    expect(hello.member).toBe('host9');
    const payload = helloPayload({ nonce, member: 'host9', epoch: 7, processId: String(hello.processId) });
    expect(verify(null, payload, keys.publicKey, Buffer.from(String(hello.signature), 'base64'))).toBe(true);
  });

  it('gives a new name while the link is up', async () => {
    const plane = await controlPlane(welcoming);
    const link = startLink([plane.address], {}, { backoff: () => 60_000 });
    await link.whenUp(5_000);
    plane.peers[0]?.send(refused({ renamed: 'host9' }));
    await eventually(() => expect(plane.peers[1]?.request.url).toBe('/agent/link?member=host9'));
  });

  it('gives a name that cannot be kept: the old one is used until it can', async () => {
    let writable = false;
    const keepName = () => {
      if (!writable) throw new Error('read-only file system');
    };
    const plane = await controlPlane((peer) => {
      if (peer.request.url?.endsWith('host9')) return welcoming(peer);
      peer.send(refused({ renamed: 'host9' }));
    });
    const link = startLink([plane.address], {}, { keepName });
    await eventually(() => expect(plane.peers.length).toBeGreaterThan(2));
    expect(plane.peers.every(({ request }) => request.url?.endsWith('host1'))).toBe(true);
    writable = true;
    await link.whenUp(5_000);
  });

  it('tells that the member was removed: the link ends for good', async () => {
    const onRemoved = vi.fn();
    const plane = await controlPlane(welcoming);
    const link = startLink([plane.address], { onRemoved });
    await link.whenUp(5_000);
    plane.peers[0]?.send(refused({ retry: false, removed: { cleanUp: true } }));
    await eventually(() => expect(onRemoved).toHaveBeenCalledWith({ message: 'why', cleanUp: true }));
    await link.stop();
    expect(plane.peers).toHaveLength(1);
  });
});
