import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { helloPayload } from '#protocol/frames.ts';
import { PROTOCOL_MINIMUM, PROTOCOL_VERSION } from '#protocol/version.ts';
import { type Hello, judgeHello, type KnownMember } from '#worker/objects/handshake.ts';

const keys = generateKeyPairSync('ed25519');
const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
const nonce = 'a nonce of the server';
const known: KnownMember = { name: 'host1', publicKey, epoch: 4, processId: 'p4' };

function hello(change: Partial<Hello> = {}, signedNonce = nonce): Hello {
  const base = { member: 'host1', epoch: 5, processId: 'p5', ...change };
  const signature = sign(null, helloPayload({ ...base, nonce: signedNonce }), keys.privateKey).toString('base64');
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    version: '0.1.0',
    signature,
    resources: {
      architecture: 'x86_64',
      kernel: 'Linux',
      kernelVersion: '6.1',
      osName: 'Debian',
      osVersion: '12',
      lxcVersion: '5.0.2',
      cpuCount: 2,
      memoryTotalBytes: 1,
      storageDrivers: [],
      interfaces: [],
      addresses: [],
    },
    load: { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 2, cpuLoad: 0 },
    ...base,
    ...change,
  };
}

const judge = (frame: Hello, member: KnownMember | undefined = known) =>
  judgeHello(frame, { member: 'host1', nonce }, member);

describe('judgeHello', () => {
  it('accepts the holder of the key with a newer epoch', async () => {
    expect(await judge(hello())).toEqual({ ok: true, blocked: false });
  });

  it('accepts the same process again', async () => {
    expect(await judge(hello({ epoch: 4, processId: 'p4' }))).toEqual({ ok: true, blocked: false });
  });

  it.each([
    ['an older epoch', hello({ epoch: 3, processId: 'p3' })],
    ['the same epoch from another process', hello({ epoch: 4, processId: 'clone' })],
  ])('refuses %s as a cloned disk', async (_case, frame) => {
    expect(await judge(frame)).toMatchObject({ ok: false, stale: true, retry: false });
  });

  it.each([
    ['a signature over another nonce', hello({}, 'an earlier nonce')],
    ['a signature that is not base64', hello({ signature: '%%%' })],
    ['an empty signature', hello({ signature: '' })],
    ['another member’s name', hello({ member: 'host2' })],
  ])('refuses %s', async (_case, frame) => {
    expect(await judge(frame)).toMatchObject({ ok: false, stale: false });
  });

  it('refuses a member that was removed and says what to do', async () => {
    const verdict = await judgeHello(hello(), { member: 'host1', nonce }, undefined);
    expect(verdict).toMatchObject({ ok: false, retry: false });
    expect(verdict.ok ? '' : verdict.error.message).toContain('join it with a new token');
  });

  it.each([
    ['the oldest protocol', PROTOCOL_MINIMUM, false],
    ['a protocol older than that', PROTOCOL_MINIMUM - 1, true],
    ['a protocol newer than its own', PROTOCOL_VERSION + 1, false],
  ])('knows the member by its key whatever it speaks: with %s', async (_case, protocol, blocked) => {
    expect(await judge(hello({ protocol }))).toEqual({ ok: true, blocked });
  });

  it('refuses a signature that was made for other fields', async () => {
    expect(await judge({ ...hello(), epoch: 9 })).toMatchObject({ ok: false });
  });
});
