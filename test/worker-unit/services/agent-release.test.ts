import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BLOCKED_REASON } from '#worker/domain/member.ts';
import { openRelease, upgradeMember } from '#worker/services/agent-release.ts';
import * as schema from '#worker/state/schema.ts';
import { openWorld, type World } from './instance-world.ts';

const SHA = 'a'.repeat(64);
const MANIFEST = { version: '0.2.0', protocol: 2, sha256: SHA, sizeBytes: 7 };

let world: World;
let blobs: Map<string, string>;
beforeEach(async () => {
  world = await openWorld();
  blobs = new Map([
    ['agent/release.json', JSON.stringify(MANIFEST)],
    [`agent/${SHA}.mjs`, 'program'],
  ]);
  world.ctx.blobs = {
    ...world.ctx.blobs,
    async get(key) {
      const text = blobs.get(key);
      return text === undefined ? null : { body: new Blob([text]).stream(), sizeBytes: text.length };
    },
  };
});
afterEach(() => world.close());

const speaks = (name: string, fields: Partial<typeof schema.members.$inferInsert>) =>
  world.db.update(schema.members).set(fields).where(eq(schema.members.name, name));

describe('upgrading a member’s agent', () => {
  it('orders the release that is offered, from that member alone', async () => {
    await speaks('node1', { protocol: 2, agentVersion: '0.1.0' });
    const operation = await upgradeMember(world.ctx, 'node1');
    expect(operation).toMatchObject({ class: 'task', description: 'Upgrading agent', location: 'node1' });
    const { protocol: _protocol, ...params } = MANIFEST;
    expect(world.asked.delivered).toMatchObject([{ member: 'node1', command: { name: 'agent.upgrade', params } }]);
  });

  it('reaches a member that is blocked, when its agent can upgrade itself', async () => {
    await speaks('node2', { protocol: 2, online: false, statusReason: BLOCKED_REASON });
    await upgradeMember(world.ctx, 'node2');
    expect(world.asked.delivered).toHaveLength(1);
  });

  it.each([
    ['a member that is away', 'node2', { protocol: 2 }, 'Cluster member "node2" is offline'],
    ['an agent too old to do it', 'node1', { protocol: 1 }, /too old to upgrade itself: install the cluster's release/],
    ['a member that does not exist', 'node9', {}, 'Cluster member not found'],
  ])('refuses %s and starts nothing', async (_what, name, fields, message) => {
    if (Object.keys(fields).length > 0) await speaks(name, fields);
    await expect(upgradeMember(world.ctx, name)).rejects.toThrow(message);
    expect(world.asked.delivered).toEqual([]);
    expect(await world.db.select().from(schema.operations)).toEqual([]);
  });

  it('says so when there is nothing to offer', async () => {
    blobs.clear();
    await speaks('node1', { protocol: 2 });
    await expect(upgradeMember(world.ctx, 'node1')).rejects.toThrow('no release of the agent to offer');
  });
});

describe('the content of a release', () => {
  it('is found by its hash', async () => {
    expect(await new Response((await openRelease(world.ctx, SHA)).body).text()).toBe('program');
  });

  it.each(['b'.repeat(64), '../release.json', '', 'release.json'])('refuses "%s"', async (name) => {
    await expect(openRelease(world.ctx, name)).rejects.toThrow('Release not found');
  });
});
