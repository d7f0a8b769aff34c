import { describe, expect, it } from 'vitest';
import { consumeJoinToken } from '#worker/services/join.ts';
import { issueJoinToken } from '#worker/services/tokens.ts';
import { commands, members, networkMembers, networks, storagePoolMembers, storagePools } from '#worker/state/schema.ts';
import { type Api, openApi } from '../http/api.ts';
import { addMember, addPool, RESOURCES } from '../state/helpers.ts';

const JOIN = { version: '0.1.0', protocol: 1, resources: RESOURCES };

async function invite(api: Api, name: string) {
  const { status, body } = await api.call('POST', '/1.0/cluster/members', { body: { server_name: name } });
  expect(status).toBe(202);
  const secret: string = body.metadata.metadata.secret;
  return { operation: body.metadata, secret };
}

const join = (api: Api, secret: string, serverName: string, publicKey = `key-of-${serverName}`, more = {}) =>
  consumeJoinToken(api.ctx, { ...JOIN, secret, serverName, publicKey, ...more });

describe('joining', () => {
  it('answers the token in the form from which stock clients build it', async () => {
    const api = await openApi();
    const { operation } = await invite(api, 'node3');
    expect(operation).toMatchObject({
      class: 'token',
      description: 'Executing operation',
      status_code: 103,
      may_cancel: true,
      metadata: {
        serverName: 'node3',
        addresses: ['192.0.2.9:8443'],
        fingerprint: api.admin.fingerprint,
        secret: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    });
    const life = Date.parse(operation.metadata.expiresAt) - Date.now();
    expect(life / 3_600_000).toBeCloseTo(3, 1);
  });

  it('makes the host a member with its share of pools and networks, and ends the token', async () => {
    const api = await openApi();
    await addPool(api.db, 'local', { old: 'Created' });
    await api.db.update(storagePools).set({ status: 'Created' });
    await api.db.insert(networks).values({
      name: 'br0',
      type: 'bridge',
      config: { 'ipv4.address': 'auto', 'ipv6.address': 'none' },
      status: 'Created',
    });
    await api.db.insert(networks).values({ name: 'br1', type: 'bridge', config: {}, status: 'Pending' });
    const { operation, secret } = await invite(api, 'node3');
    const memberConfig = [{ entity: 'storage-pool', name: 'local', key: 'source', value: '/srv/pool' }];
    expect(await join(api, secret, 'node3', 'k', { memberConfig })).toEqual({ member: 'node3' });

    expect(await api.db.select().from(members)).toMatchObject([
      { name: 'node3', publicKey: 'k', online: false, groups: ['default'], architecture: 'x86_64', epoch: 0 },
    ]);
    const pools = await api.db.select().from(storagePoolMembers);
    expect(pools).toContainEqual(
      expect.objectContaining({ member: 'node3', status: 'Pending', config: { source: '/srv/pool' } }),
    );
    expect(await api.db.select().from(networkMembers)).toMatchObject([{ network: 'br0', member: 'node3' }]);
    expect(await api.db.select().from(commands)).toMatchObject([
      {
        member: 'node3',
        name: 'pool.create',
        operationId: null,
        params: { pool: { config: { source: '/srv/pool' } } },
      },
      {
        member: 'node3',
        name: 'network.create',
        params: { network: { name: 'br0' }, preferredIpv4: expect.stringMatching(/^10\./), preferredIpv6: null },
      },
    ]);
    expect((await api.call('GET', `/1.0/operations/${operation.id}`)).body.metadata.status).toBe('Success');
    expect(api.asked.published.map(({ metadata }) => metadata.action ?? metadata.status)).toContain(
      'cluster-member-added',
    );
  });

  it('answers the same to the same key, and adds nothing the second time', async () => {
    const api = await openApi();
    const { secret } = await invite(api, 'node3');
    await join(api, secret, 'node3');
    expect(await join(api, secret, 'node3')).toEqual({ member: 'node3' });
    const again = await Promise.all([join(api, secret, 'node3'), join(api, secret, 'node3')]);
    expect(again).toEqual([{ member: 'node3' }, { member: 'node3' }]);
    expect(await api.db.select().from(members)).toHaveLength(1);
  });

  it('lets one of several hosts in that use one token at the same moment', async () => {
    const api = await openApi();
    const { secret } = await invite(api, 'node3');
    const outcomes = await Promise.allSettled(['k1', 'k2', 'k3', 'k4'].map((key) => join(api, secret, 'node3', key)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await api.db.select().from(members)).toHaveLength(1);
  });

  it('refuses everything else by its own words and changes nothing', async () => {
    const api = await openApi();
    await addMember(api.db, 'taken');
    const before = await api.db.select().from(members);
    const { secret } = await invite(api, 'node3');
    await expect(join(api, '0'.repeat(64), 'node3')).rejects.toMatchObject({
      code: 'forbidden',
      message: 'No matching cluster join operation found',
    });
    await expect(join(api, secret, 'node4')).rejects.toThrow('The join token is for member "node3"');
    await expect(join(api, secret, 'node3', 'key-of-taken')).rejects.toMatchObject({ code: 'conflict' });
    const odd = [{ entity: 'storage-pool', name: 'local', key: 'volume.size', value: '1GiB' }];
    await addPool(api.db, 'local', { taken: 'Created' });
    await api.db.update(storagePools).set({ status: 'Created' });
    await expect(join(api, secret, 'node3', 'k', { memberConfig: odd })).rejects.toThrow('is not member-specific');
    api.clock.now = new Date(Date.now() + 4 * 3_600_000).toISOString();
    await expect(join(api, secret, 'node3')).rejects.toThrow('The join token for member "node3" has expired');
    expect(await api.db.select().from(members)).toEqual(before);
    expect(await api.db.select().from(commands)).toEqual([]);
  });

  it('cancels the earlier token of the same name, and refuses cancelled ones', async () => {
    const api = await openApi();
    const first = await invite(api, 'node3');
    const second = await invite(api, 'node3');
    await expect(join(api, first.secret, 'node3')).rejects.toThrow('No matching cluster join operation found');
    expect((await api.call('GET', `/1.0/operations/${first.operation.id}`)).body.metadata.status).toBe('Cancelled');
    await api.call('DELETE', `/1.0/operations/${second.operation.id}`);
    await expect(join(api, second.secret, 'node3')).rejects.toThrow('No matching cluster join operation found');
    expect(await api.db.select().from(members)).toEqual([]);
  });

  it('makes no token for a name that is a member or cannot be one', async () => {
    const api = await openApi();
    await addMember(api.db, 'node3');
    const principal = { protocol: 'unix', username: 'root', address: '@', projects: null, member: null } as const;
    const ctx = { ...api.ctx, principal };
    await expect(issueJoinToken(ctx, 'node3')).rejects.toThrow('The cluster already has a member with name: node3');
    for (const name of ['', '@x', 'a b', '-x']) {
      await expect(issueJoinToken(ctx, name)).rejects.toMatchObject({ code: 'bad_request' });
    }
  });

  it('does not let a removed member back in by its old token', async () => {
    const api = await openApi();
    const { secret } = await invite(api, 'node3');
    await join(api, secret, 'node3');
    expect((await api.call('DELETE', '/1.0/cluster/members/node3')).status).toBe(200);
    await expect(join(api, secret, 'node3')).rejects.toThrow('No matching cluster join operation found');
  });
});
