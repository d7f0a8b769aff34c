import { describe, expect, it } from 'vitest';
import { warnings } from '#worker/state/schema.ts';
import { addMember, addOperation, RESOURCES, T0 } from '../state/helpers.ts';
import { openApi } from './api.ts';

describe('the server', () => {
  it('describes itself so that stock clients know a cluster', async () => {
    const api = await openApi();
    await addMember(api.db, 'm1');
    await addMember(api.db, 'm2', { online: false, resources: { ...RESOURCES, kernelVersion: '9' } });
    const { body } = await api.call('GET', '/1.0');
    expect(body.metadata).toMatchObject({
      api_status: 'stable',
      api_version: '1.0',
      auth: 'trusted',
      config: { 'core.https_address': '192.0.2.9:8443' },
      environment: {
        server: 'lxd',
        server_name: 'm1',
        server_clustered: true,
        storage: 'dir',
        storage_supported_drivers: [{ Name: 'dir', Version: '1', Remote: false }],
        addresses: ['192.0.2.9:8443'],
        architectures: ['x86_64', 'i686'],
        certificate_fingerprint: api.admin.fingerprint,
        project: 'default',
      },
    });
    expect(body.metadata.api_extensions).not.toContain('storage_and_profile_operations');
    expect((await api.call('GET', '/1.0?target=m2')).body.metadata.environment).toMatchObject({
      server_name: 'm2',
      kernel_version: '9',
    });
    expect((await api.call('GET', '/1.0?target=nope')).body.error).toBe('Cluster member not found');
  });

  it('keeps configuration as strings, replaces it by PUT and merges by PATCH', async () => {
    const api = await openApi();
    const put = (method: string, config: unknown, headers = {}) =>
      api.call(method, '/1.0', { body: { config }, headers });
    const config = async () => (await api.call('GET', '/1.0')).body.metadata.config;
    await put('PATCH', { 'images.auto_update_cached': false, 'cluster.offline_threshold': 30, 'user.a/b': 'c' });
    expect(await config()).toMatchObject({
      'images.auto_update_cached': 'false',
      'cluster.offline_threshold': '30',
      'user.a/b': 'c',
    });
    const { headers, body } = await api.call('GET', '/1.0');
    const match = { 'if-match': headers.get('etag') ?? '' };
    expect((await put('PUT', { ...body.metadata.config, 'user.a/b': '' }, match)).status).toBe(200);
    expect((await put('PUT', {}, match)).status).toBe(412);
    expect(Object.keys(await config())).not.toContain('user.a/b');
    expect((await put('PUT', {})).status).toBe(200);
    expect(Object.keys(await config()).sort()).toEqual(['cluster.https_address', 'core.https_address']);
  });

  it('keeps member-local keys apart', async () => {
    const api = await openApi();
    await addMember(api.db, 'm1');
    const body = { config: { 'core.metrics_address': '10.0.0.1:9100' } };
    expect((await api.call('PATCH', '/1.0?target=m1', { body })).status).toBe(200);
    const seen = async (query: string) => (await api.call('GET', `/1.0${query}`)).body.metadata.config;
    expect((await seen('?target=m1'))['core.metrics_address']).toBe('10.0.0.1:9100');
    expect((await seen(''))['core.metrics_address']).toBeUndefined();
  });

  it.each([
    ['nope', '1', "cannot set 'nope' to '1': unknown key"],
    [
      'cluster.offline_threshold',
      '5',
      "cannot set 'cluster.offline_threshold' to '5': Value must be greater than '10'",
    ],
    [
      'cluster.join_token_expiry',
      'soon',
      "cannot set 'cluster.join_token_expiry' to 'soon': Invalid expiry expression",
    ],
    ['internal.x', '1', "cannot set 'internal.x' to '1': unknown key"],
  ])('refuses %s=%s', async (key, value, error) => {
    const api = await openApi();
    const body = { config: { 'user.good': '1', [key]: value } };
    expect((await api.call('PATCH', '/1.0', { body })).body).toMatchObject({ error_code: 400, error });
    expect((await api.call('GET', '/1.0')).body.metadata.config['user.good']).toBeUndefined();
  });

  it("shows a member's hardware in LXD's shape", async () => {
    const api = await openApi();
    await addMember(api.db, 'm1');
    const { metadata } = (await api.call('GET', '/1.0/resources?target=m1')).body;
    expect(metadata).toMatchObject({ cpu: { total: 4, architecture: 'x86_64' }, memory: { total: 8 * 2 ** 30 } });
    expect(metadata.cpu.sockets[0].cores).toHaveLength(4);
    expect((await api.call('GET', '/1.0/resources?target=nope')).status).toBe(404);
  });
});

describe('operations', () => {
  it('are listed by status, as URLs or whole', async () => {
    const api = await openApi();
    expect((await api.call('GET', '/1.0/operations')).body.metadata).toEqual({});
    await addOperation(api.db, 'a');
    await addOperation(api.db, 'b', { status: 200 });
    expect((await api.call('GET', '/1.0/operations')).body.metadata).toEqual({
      running: ['/1.0/operations/a'],
      success: ['/1.0/operations/b'],
    });
    const whole = await api.call('GET', '/1.0/operations?recursion=1&project=default');
    expect(whole.body.metadata.running).toMatchObject([{ id: 'a', status: 'Running', status_code: 103 }]);
  });

  it('are waited for, at most as long as asked', async () => {
    const api = await openApi();
    await addOperation(api.db, 'a');
    await addOperation(api.db, 'b', { status: 400, err: 'no' });
    expect((await api.call('GET', '/1.0/operations/a/wait?timeout=0')).body.metadata.status).toBe('Running');
    expect((await api.call('GET', '/1.0/operations/b/wait?')).body.metadata).toMatchObject({ err: 'no' });
    expect((await api.call('GET', '/1.0/operations/none/wait')).body.error).toBe('Operation not found');
  });

  it('are waited for without a certificate by who holds the websocket secret', async () => {
    const api = await openApi();
    await addOperation(api.db, 'a', { status: 200, metadata: { fds: { 0: 's3cret', control: 'other' } } });
    const wait = (secret: string) => api.call('GET', `/1.0/operations/a/wait?secret=${secret}`, { as: 'nobody' });
    expect((await wait('s3cret')).body.metadata.status).toBe('Success');
    expect((await wait('guess')).status).toBe(403);
  });

  it('are cancelled only while they run and if they can be', async () => {
    const api = await openApi();
    await addOperation(api.db, 'done', { status: 200 });
    await addOperation(api.db, 'fixed', { mayCancel: false });
    expect((await api.call('DELETE', '/1.0/operations/done')).body.error).toBe(
      'Only running operations can be cancelled',
    );
    expect((await api.call('DELETE', '/1.0/operations/fixed')).body.error).toBe("This operation can't be cancelled");
    expect((await api.call('DELETE', '/1.0/operations/none')).status).toBe(404);
  });
});

describe('warnings', () => {
  it('are listed, acknowledged, reset and forgotten', async () => {
    const api = await openApi();
    const row = { id: 'w1', dedupeKey: 'k', type: 'Offline cluster member', severity: 'low', status: 'new' } as const;
    await api.db.insert(warnings).values({ ...row, lastMessage: 'gone', firstSeenAt: T0, lastSeenAt: T0 });
    const path = '/1.0/warnings/w1';
    expect((await api.call('GET', '/1.0/warnings?recursion=1')).body.metadata).toMatchObject([
      { uuid: 'w1', status: 'new', severity: 'low', last_message: 'gone', count: 1, entity_url: '' },
    ]);
    expect((await api.call('PUT', path, { body: { status: 'acknowledged' } })).status).toBe(200);
    expect((await api.call('GET', path)).body.metadata.status).toBe('acknowledged');
    expect((await api.call('PUT', path, { body: { status: 'resolved' } })).status).toBe(400);
    expect((await api.call('DELETE', path)).status).toBe(200);
    expect((await api.call('GET', path)).body).toMatchObject({ error_code: 404, error: 'Warning not found' });
  });
});
