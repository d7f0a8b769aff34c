/** The agent's end of the link against a control plane that is not one: it goes on, and its own code sees frames only. */
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signPayload } from '#agent/link/identity.ts';
import { createLink, type Link } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import { ControlFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { type FakeControlPlane, type Peer, startControlPlane } from '../agent/fakes/control-plane.ts';
import { eventually } from '../eventually.ts';
import { RESOURCES } from '../worker-unit/state/helpers.ts';
import { LOAD } from './agent.ts';
import { arbitraryOf } from './arbitrary.ts';
import { tried } from './client.ts';
import { SEED } from './fuzz.ts';

const CHALLENGE = { type: 'challenge', nonce: 'n'.repeat(32), protocol: PROTOCOL_VERSION };
const WELCOME = { type: 'welcome', session: 'token', protocol: PROTOCOL_VERSION };
/** Frames by which the other side ends the link: what the agent does at these is not this test's. */
const ENDS = new Set(['refused', 'challenge', 'welcome']);

let plane: FakeControlPlane;
let link: Link;
const taken: unknown[] = [];
const kept: string[] = [];
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);

beforeAll(async () => {
  process.on('unhandledRejection', note);
  plane = await startControlPlane((peer) => peer.send(CHALLENGE));
  link = createLink({
    ...{ server: [plane.address], fingerprint: null, member: 'm1', epoch: 1, log: silentLog },
    ...{ identity: generateKeyPairSync('ed25519').privateKey, signature: signPayload, backoff: () => 1 },
    describeHost: () => Promise.resolve({ resources: RESOURCES, load: LOAD }),
    keepName: (name) => void kept.push(name),
  });
  link.start({ onWelcome: () => {}, onFrame: (frame) => void taken.push(frame), onRemoved: () => {} });
});
afterAll(async () => {
  process.off('unhandledRejection', note);
  await link.stop();
  await plane.close();
  console.log(`frames to an agent: ${tried.frames} sent, seed ${SEED}`);
});

/** The connection of now, after its handshake. */
async function welcomed(): Promise<Peer> {
  return eventually(() => {
    const peer = plane.peers.at(-1);
    if (peer?.socket.readyState !== 1 || !peer.frames.some(({ type }) => type === 'hello')) throw new Error('no hello');
    if (link.session() === null) peer.send(WELCOME);
    expect(link.session()).not.toBeNull();
    return peer;
  });
}

const sendAll = (peer: Peer, frames: readonly unknown[]) => {
  for (const frame of frames) {
    tried.frames += 1;
    peer.send(frame);
  }
};
const errorsOf = (peer: Peer) => peer.frames.filter(({ type }) => type === 'error').length;

describe('an agent’s link', () => {
  it('stays up, takes frames only and answers the rest with an error', async () => {
    const peer = await welcomed();
    const valid: unknown[] = [];
    for (let round = 0; round < 8; round += 1) {
      const values = fc
        .sample(arbitraryOf(ControlFrame), { numRuns: 500, seed: SEED + round })
        .map((value): unknown => JSON.parse(JSON.stringify(value) ?? 'null'))
        .filter((value) => !ENDS.has(String(ControlFrame.safeParse(value).data?.type)));
      const good = values.filter((value) => ControlFrame.safeParse(value).success);
      valid.push(...good);
      const before = errorsOf(peer);
      sendAll(peer, values);
      await eventually(() => expect(errorsOf(peer) - before).toBeGreaterThanOrEqual(values.length - good.length));
    }
    expect(valid.length).toBeGreaterThan(1_000);
    expect(taken.every((frame) => ControlFrame.safeParse(frame).success)).toBe(true);
    expect(plane.peers.at(-1)).toBe(peer);
    expect(unhandled).toEqual([]);
  });

  it.each([
    ['bytes that are no text', Buffer.from([0xff, 0xfe]).toString('latin1')],
    ['a frame that is too large', `"${'x'.repeat(FRAME_LIMIT_BYTES)}"`],
    ['depth', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['a prototype', '{"__proto__":{"type":"command"},"type":"session"}'],
    ['a challenge after the handshake', JSON.stringify(CHALLENGE)],
    ['a command that there is not', '{"type":"command","id":"x","name":"host.shell","params":{"argv":["id"]}}'],
  ])('answers %s with an error', async (_, frame) => {
    const peer = await welcomed();
    const [before, seen] = [errorsOf(peer), taken.length];
    sendAll(peer, [frame]);
    await eventually(() => expect(errorsOf(peer)).toBe(before + 1));
    expect(taken.length).toBe(seen);
  });

  it('comes again after each refusal, and takes no name that is none', async () => {
    for (const renamed of ['', '../m1', 'a\nb', '-rf', 'x y', '@all']) {
      const peer = await welcomed();
      sendAll(peer, [{ type: 'refused', error: { code: 'conflict', message: 'x' }, retry: true, renamed }]);
      await eventually(() => expect(plane.peers.at(-1)).not.toBe(peer));
    }
    await welcomed();
    expect(kept).toEqual([]);
    expect(unhandled).toEqual([]);
  });
});
