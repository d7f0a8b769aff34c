import { describe, expect, it } from 'vitest';
import { instances, members, storagePoolMembers, storagePools } from '#worker/state/schema.ts';
import { addCommand, addInstance, addMember, addOperation, addPool, T0 } from '../state/helpers.ts';
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
    expect(api.asked.disconnected).toEqual(['m2']);
  });

  it('cannot be renamed or evacuated, and say so', async () => {
    const api = await openCluster();
    expect((await api.call('POST', `${PATH}/m1`, { body: { server_name: 'x' } })).status).toBe(501);
    expect((await api.call('POST', `${PATH}/m1/state`, { body: { action: 'evacuate' } })).status).toBe(501);
    expect((await api.call('GET', '/1.0')).body.metadata.api_extensions).not.toContain('clustering_evacuation');
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
