import { describe, expect, it } from 'vitest';
import {
  commands,
  formerMembers,
  instances,
  members,
  storagePoolMembers,
  storagePools,
  storageVolumes,
} from '#worker/state/schema.ts';
import {
  actionsOf,
  addCommand,
  addInstance,
  addMember,
  addOperation,
  addPool,
  poolSpec,
  T0,
} from '../state/helpers.ts';
import { openApi } from './api.ts';

const PATH = '/1.0/cluster/members';

async function openCluster() {
  const api = await openApi();
  await addMember(api.db, 'm1', { roles: ['database'] });
  await addMember(api.db, 'm2', { roles: ['database'], online: false, statusChangedAt: T0 });
  return api;
}

describe('members', () => {
  it('are shown as LXD shows them', async () => {
    const api = await openCluster();
    api.clock.now = '2026-11-21T10:00:38.400Z';
    const { body } = await api.call('GET', `${PATH}?recursion=1`);
    expect(body.metadata[0]).toEqual({
      server_name: 'm1',
      url: 'https://192.0.2.1:8443',
      database: true,
      roles: ['database'],
      failure_domain: 'default',
      description: '',
      config: {},
      groups: ['default'],
      status: 'Online',
      message: 'Fully operational',
      architecture: 'x86_64',
    });
    expect(body.metadata[1]).toMatchObject({
      status: 'Offline',
      message: 'No heartbeat for 38.4s (2026-11-21 10:00:00 +0000 UTC)',
    });
    expect((await api.call('GET', PATH)).body.metadata).toEqual([`${PATH}/m1`, `${PATH}/m2`]);
    expect((await api.call('GET', `${PATH}/nope`)).body.error).toBe('Cluster member not found');
  });

  it('change by what lxc cluster set, role and group send', async () => {
    const api = await openCluster();
    const shown = await api.call('GET', `${PATH}/m1`);
    const headers = { 'if-match': shown.headers.get('etag') ?? '' };
    const { roles, failure_domain, description, groups } = shown.body.metadata;
    const body = {
      roles,
      failure_domain,
      description,
      groups,
      config: { 'user.rack': 'r1', 'scheduler.instance': '' },
    };
    expect((await api.call('PUT', `${PATH}/m1`, { body, headers })).status).toBe(200);
    expect((await api.call('PUT', `${PATH}/m1`, { body, headers })).status).toBe(412);
    expect((await api.call('GET', `${PATH}/m1`)).body.metadata.config).toEqual({ 'user.rack': 'r1' });
    expect((await api.call('PATCH', `${PATH}/m1`, { body: { description: 'first' } })).status).toBe(200);
    expect((await api.call('GET', `${PATH}/m1`)).body.metadata).toMatchObject({
      description: 'first',
      config: { 'user.rack': 'r1' },
      groups: ['default'],
    });
  });

  it.each([
    [{ config: { nope: '1' } }, 500, 'Invalid cluster configuration key "nope"'],
    [{ roles: [] }, 400, 'The "database" role cannot be dropped at this time'],
    [{ roles: ['database', 'database-leader'] }, 400, 'The "database-leader" role cannot be added at this time'],
    [{ groups: [] }, 400, 'Cluster members need to belong to at least one group'],
    [{ groups: ['nope'] }, 404, 'Cluster group not found'],
  ])('refuse %j', async (change, status, error) => {
    const api = await openCluster();
    expect((await api.call('PATCH', `${PATH}/m1`, { body: change })).body).toMatchObject({ error_code: status, error });
  });

  it('stay while instances are on them; force drops what is recorded there and ends what waits', async () => {
    const api = await openCluster();
    await addInstance(api.db, 'c1', { member: 'm2' });
    await addPool(api.db, 'local', { m1: 'Created', m2: 'Created' });
    await addOperation(api.db, 'op');
    const pool = { name: 'local', driver: 'dir', config: {} } as const;
    await addCommand(
      api.db,
      { id: 'x', name: 'instance.delete', params: { ref: { project: 'default', name: 'c1' }, pool } },
      { member: 'm2', operationId: 'op' },
    );
    expect((await api.call('DELETE', `${PATH}/m2`)).body).toMatchObject({
      error_code: 500,
      error: 'Node still has the following containers: c1',
    });
    expect((await api.call('DELETE', `${PATH}/m2?force=1`)).status).toBe(200);
    expect((await api.db.select().from(members)).map(({ name }) => name)).toEqual(['m1']);
    expect(await api.db.select().from(instances)).toEqual([]);
    expect((await api.db.select().from(storagePoolMembers)).map(({ member }) => member)).toEqual(['m1']);
    expect((await api.call('GET', '/1.0/operations/op')).body.metadata.status_code).toBeGreaterThanOrEqual(400);
    expect(api.asked.removed).toEqual([{ member: 'm2', cleanUp: false }]);
  });

  it('that are empty leave, and may clean up', async () => {
    const api = await openCluster();
    await addPool(api.db, 'local', { m1: 'Created', m2: 'Errored' });
    await addCommand(api.db, { id: 'w', name: 'pool.create', params: { pool: poolSpec() } }, { member: 'm2' });
    expect((await api.call('DELETE', `${PATH}/m2`)).status).toBe(200);
    expect(api.asked.removed).toEqual([{ member: 'm2', cleanUp: true }]);
    expect(actionsOf(api.asked.published)).toContain('cluster-member-removed');
    expect((await api.db.select().from(formerMembers))[0]).toMatchObject({
      name: 'm2',
      kind: 'removed',
      cleanUp: true,
    });
    expect((await api.db.select().from(commands)).map(({ status }) => status)).toEqual(['cancelled']);
    // What waited for it alone is complete without it.
    expect((await api.db.select().from(storagePools))[0]?.status).toBe('Created');
    expect((await api.call('DELETE', `${PATH}/m2`)).body.error).toBe('Cluster member not found');
  });

  it('stay while custom volumes are on them', async () => {
    const api = await openCluster();
    const volume = { pool: 'local', project: 'default', name: 'web', member: 'm2', config: {}, createdAt: T0 } as const;
    await api.db.insert(storageVolumes).values({ ...volume, status: 'Created' });
    expect((await api.call('DELETE', `${PATH}/m2`)).body).toMatchObject({
      error_code: 500,
      error: 'Node still has the following custom volumes: web',
    });
    expect(api.asked.removed).toEqual([]);
  });

  it('tell load, memory and storage as their hosts last told them', async () => {
    const api = await openCluster();
    const { body } = await api.call('GET', `${PATH}/m1/state`);
    expect(body.metadata).toEqual({
      sysinfo: {
        uptime: 0,
        load_averages: [0, 0, 0],
        total_ram: 8 * 2 ** 30,
        free_ram: 0,
        shared_ram: 0,
        buffered_ram: 0,
        total_swap: 0,
        free_swap: 0,
        processes: 0,
        logical_cpus: 4,
      },
      storage_pools: {},
    });
    expect((await api.call('GET', `${PATH}/nope/state`)).body.error).toBe('Cluster member not found');
  });

  it('take a new name, also while they are away', async () => {
    const api = await openCluster();
    await addInstance(api.db, 'c1', { member: 'm2' });
    expect((await api.call('POST', `${PATH}/m2`, { body: { server_name: 'm9' } })).body).toMatchObject({
      status_code: 200,
      metadata: {},
    });
    expect((await api.call('GET', PATH)).body.metadata).toEqual([`${PATH}/m1`, `${PATH}/m9`]);
    expect(api.asked.renamed).toEqual(['m2 m9']);
    expect(actionsOf(api.asked.published)).toEqual(['cluster-member-renamed']);
  });

  it('go on serving their hosts’ users over a new name, not whoever gets the old one', async () => {
    const api = await openCluster();
    const ask = () => api.call('GET', '/1.0', { as: { member: 'm2' } });
    await api.call('POST', `${PATH}/m2`, { body: { server_name: 'm9' } });
    expect((await ask()).body.metadata.auth).toBe('trusted');
    await addMember(api.db, 'm2', { publicKey: 'another' });
    expect((await ask()).body.metadata.auth).toBe('trusted');
    await api.call('DELETE', `${PATH}/m9`);
    expect((await ask()).body.metadata.auth).toBe('untrusted');
  });

  it.each([
    ['m1', 'm2', 409, 'The cluster already has a member with name: m2'],
    ['nope', 'm3', 404, 'Cluster member not found'],
    ['m1', 'no/name', 400, /name/i],
  ])('of %s refuse the name %s', async (from, to, status, error) => {
    const api = await openCluster();
    const { body } = await api.call('POST', `${PATH}/${from}`, { body: { server_name: to } });
    expect(body.error_code).toBe(status);
    expect(body.error).toMatch(error);
    expect((await api.call('GET', PATH)).body.metadata).toEqual([`${PATH}/m1`, `${PATH}/m2`]);
  });

  it('say why they are away', async () => {
    const api = await openCluster();
    await api.db.update(members).set({ statusReason: 'The link is closed' });
    api.clock.now = '2026-11-21T10:00:38.400Z';
    expect((await api.call('GET', `${PATH}/m2`)).body.metadata.message).toBe(
      'No heartbeat for 38.4s (2026-11-21 10:00:00 +0000 UTC): The link is closed',
    );
  });

  it('are evacuated and restored once each, also while they are away', async () => {
    const api = await openCluster();
    const set = async (member: string, action: string) => {
      const { status, body } = await api.call('POST', `${PATH}/${member}/state`, { body: { action, mode: '' } });
      if (status !== 202) return { status, error: body.error };
      return (await api.call('GET', body.operation ?? '')).body.metadata;
    };
    const shown = async (member: string) => (await api.call('GET', `${PATH}/${member}`)).body.metadata;
    expect(await set('m1', 'evacuate')).toMatchObject({ status: 'Success', description: 'Evacuating cluster member' });
    expect(await shown('m1')).toMatchObject({ status: 'Evacuated', message: 'Unavailable due to maintenance' });
    expect(await set('m1', 'evacuate')).toMatchObject({
      status: 'Failure',
      err: 'Cluster member is already evacuated',
    });
    expect(await set('m1', 'restore')).toMatchObject({ status: 'Success', description: 'Restoring cluster member' });
    expect(await shown('m1')).toMatchObject({ status: 'Online' });
    expect(await set('m1', 'restore')).toMatchObject({ status: 'Failure', err: 'Cluster member is already restored' });
    expect(await set('m2', 'evacuate')).toMatchObject({ status: 'Success' });
    expect(await set('m2', 'restore')).toMatchObject({ status: 503 });
    expect(await set('m1', 'explode')).toMatchObject({ status: 400 });
    expect(await set('m9', 'evacuate')).toMatchObject({ status: 404, error: 'Cluster member not found' });
  });
});

describe('the cluster', () => {
  it('says what a new member must bring for the pools there are', async () => {
    const api = await openCluster();
    await addPool(api.db, 'local', { m1: 'Created' });
    await api.db.update(storagePools).set({ status: 'Created' });
    expect((await api.call('GET', '/1.0/cluster')).body.metadata).toEqual({
      server_name: 'm1',
      enabled: true,
      member_config: [
        {
          entity: 'storage-pool',
          name: 'local',
          key: 'source',
          value: '',
          description: '"source" property for storage pool "local"',
        },
      ],
    });
  });

  it('cannot be bootstrapped again', async () => {
    const api = await openCluster();
    const { body } = await api.call('PUT', '/1.0/cluster', { body: { server_name: 'x', enabled: true } });
    expect(body).toMatchObject({ error_code: 400, error: 'This server is already clustered' });
  });
});

describe('cluster groups', () => {
  const GROUPS = '/1.0/cluster/groups';

  it('are made, filled, renamed, emptied and deleted', async () => {
    const api = await openCluster();
    const create = () => api.call('POST', GROUPS, { body: { name: 'g1', description: '', members: null } });
    expect((await create()).headers.get('location')).toBe(`${GROUPS}/g1`);
    expect((await create()).status).toBe(409);
    await api.call('PATCH', `${PATH}/m2`, { body: { groups: ['default', 'g1'] } });
    expect((await api.call('GET', `${GROUPS}?recursion=1`)).body.metadata).toEqual([
      { name: 'default', description: 'Default cluster group', members: ['m1', 'm2'] },
      { name: 'g1', description: '', members: ['m2'] },
    ]);
    expect((await api.call('POST', `${GROUPS}/g1`, { body: { name: 'g2' } })).status).toBe(201);
    expect((await api.call('GET', `${PATH}/m2`)).body.metadata.groups).toEqual(['default', 'g2']);
    expect((await api.call('DELETE', `${GROUPS}/g2`)).status).toBe(400);
    expect((await api.call('PUT', `${GROUPS}/g2`, { body: { description: 'x', members: [] } })).status).toBe(200);
    expect((await api.call('DELETE', `${GROUPS}/g2`)).status).toBe(200);
    expect((await api.call('GET', `${GROUPS}/g2`)).body.error).toBe('Cluster group not found');
  });

  it('keep the default one', async () => {
    const api = await openCluster();
    const rename = await api.call('POST', `${GROUPS}/default`, { body: { name: 'x' } });
    expect(rename.body).toMatchObject({ error_code: 403, error: 'The "default" group cannot be renamed' });
    expect((await api.call('DELETE', `${GROUPS}/default`)).body).toMatchObject({
      error_code: 403,
      error: "The 'default' cluster group cannot be deleted",
    });
  });
});
