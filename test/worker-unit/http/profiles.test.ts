import { describe, expect, it } from 'vitest';
import { failed } from '#protocol/errors.ts';
import { images, instances, profiles, storagePools } from '#worker/state/schema.ts';
import { addInstance, addMember, report, T0 } from '../state/helpers.ts';
import { openApi } from './api.ts';

const PATH = '/1.0/profiles';
const ROOT = { root: { type: 'disk', path: '/', pool: 'local' } };

async function openWithPool() {
  const api = await openApi();
  await api.db.insert(storagePools).values([
    { name: 'local', driver: 'dir', config: {}, status: 'Created' },
    { name: 'other', driver: 'dir', config: {}, status: 'Created' },
  ]);
  await addMember(api.db, 'm1');
  await addMember(api.db, 'm2', { online: false });
  api.answer = (member) => (member === 'm1' ? { report: report('c1', 'Running'), volatile: {} } : undefined);
  return api;
}

describe('profiles', () => {
  it('go through their life as lxc drives it', async () => {
    const api = await openApi();
    const create = () => api.call('POST', PATH, { body: { name: 'p1', description: '', config: null, devices: null } });
    expect((await create()).headers.get('location')).toBe(`${PATH}/p1`);
    expect((await create()).body).toMatchObject({
      error_code: 409,
      error: 'Error inserting "p1" into database: The profile already exists',
    });
    const shown = await api.call('GET', `${PATH}/p1`);
    expect(shown.body.metadata).toEqual({ name: 'p1', description: '', config: {}, devices: {}, used_by: [] });
    const headers = { 'if-match': shown.headers.get('etag') ?? '' };
    const body = { config: { 'limits.cpu': 2, 'user.x': '' }, description: 'hi', devices: {} };
    expect((await api.call('PUT', `${PATH}/p1`, { body, headers })).status).toBe(200);
    expect((await api.call('PUT', `${PATH}/p1`, { body, headers })).status).toBe(412);
    expect((await api.call('GET', `${PATH}/p1`)).body.metadata).toMatchObject({
      config: { 'limits.cpu': '2' },
      description: 'hi',
    });
    expect((await api.call('PATCH', `${PATH}/p1`, { body: { config: { 'user.z': '1' } } })).status).toBe(200);
    expect((await api.call('POST', `${PATH}/p1`, { body: { name: 'p3' } })).headers.get('location')).toBe(`${PATH}/p3`);
    expect((await api.call('GET', `${PATH}/p3`)).body.metadata.config).toEqual({ 'limits.cpu': '2', 'user.z': '1' });
    expect((await api.call('DELETE', `${PATH}/p3`)).status).toBe(200);
    expect((await api.call('GET', `${PATH}/p3`)).body.error).toBe('Fetch profile: Profile not found');
    expect(api.asked.published.map(({ metadata }) => metadata.action)).toEqual([
      'profile-created',
      'profile-updated',
      'profile-updated',
      'profile-renamed',
      'profile-deleted',
    ]);
  });

  it.each([
    [{ name: 'a/b' }, 'Profile names may not contain slashes'],
    [{ name: '' }, 'No name provided'],
    [{ name: 'x', config: { nope: '1' } }, 'Unknown configuration key: nope'],
    [{ name: 'x', config: { 'volatile.uuid': '1' } }, 'Volatile keys can only be set on instances'],
    [{ name: 'x', config: { 'image.os': 'a' } }, 'Image keys can only be set on instances'],
    [{ name: 'x', devices: { eth0: { type: 'nic', network: 'nope' } } }, /Network not found$/],
    [{ name: 'x', devices: { root: { type: 'disk', path: '/', pool: 'nope' } } }, /Storage pool not found$/],
  ])('refuse %j', async (body, error) => {
    const api = await openApi();
    const answer = await api.call('POST', PATH, { body });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatch(error);
    expect(await api.db.select().from(profiles)).toHaveLength(1);
  });

  it('tell the members of all instances that use them, and stay while they are used', async () => {
    const api = await openWithPool();
    await api.call('POST', PATH, { body: { name: 'base', devices: ROOT } });
    await api.call('POST', PATH, { body: { name: 'web', config: { 'limits.cpu': '1' } } });
    await addInstance(api.db, 'c1', { member: 'm1', profiles: ['base', 'web'], config: { 'user.a': 'own' } });
    await addInstance(api.db, 'c2', { member: 'm2', profiles: ['base', 'web'] });
    await addInstance(api.db, 'c3', { member: 'm1', profiles: ['base'] });
    const config = { 'limits.cpu': '4', 'limits.memory': '1GiB', 'user.a': 'profile' };
    expect((await api.call('PUT', `${PATH}/web`, { body: { config } })).status).toBe(200);
    expect(api.asked.delivered.map(({ member, command }) => [member, command.name, command.params])).toMatchObject([
      [
        'm1',
        'instance.update',
        { spec: { name: 'c1', expandedConfig: { ...config, 'user.a': 'own' }, expandedDevices: ROOT } },
      ],
      ['m2', 'instance.update', { spec: { name: 'c2', expandedConfig: config } }],
    ]);
    const rows = await api.db.select().from(instances);
    expect(rows.map(({ memoryBytes }) => memoryBytes)).toEqual([2 ** 30, 2 ** 30, 0]);
    expect((await api.call('GET', `${PATH}/web`)).body.metadata.used_by).toEqual([
      '/1.0/instances/c1',
      '/1.0/instances/c2',
    ]);
    expect((await api.call('DELETE', `${PATH}/web`)).body).toMatchObject({
      error_code: 500,
      error: 'Profile is currently in use',
    });
  });

  it('are changed all the same when an instance cannot follow, which is said of each', async () => {
    const api = await openWithPool();
    await api.call('POST', PATH, { body: { name: 'web' } });
    for (const name of ['c1', 'c2']) await addInstance(api.db, name, { member: 'm1', profiles: ['web'] });
    api.answer = (_member, command) => {
      if (command.name === 'instance.update' && command.params.spec.name === 'c2') throw failed('no such device');
      return { report: report('c1', 'Running'), volatile: {} };
    };
    const config = { 'limits.memory': '1GiB' };
    expect((await api.call('PUT', `${PATH}/web`, { body: { config } })).body).toMatchObject({
      error_code: 500,
      error:
        'The following instances failed to update (profile change still saved):\n - Project: default, Instance: c2: no such device\n',
    });
    expect((await api.call('GET', `${PATH}/web`)).body.metadata.config).toEqual(config);
  });

  it('do not take away or move the root disk of an instance', async () => {
    const api = await openWithPool();
    await api.call('POST', PATH, { body: { name: 'base', devices: ROOT } });
    await addInstance(api.db, 'c1', { profiles: ['base'] });
    const put = (devices: unknown) => api.call('PUT', `${PATH}/base`, { body: { devices } });
    expect((await put({})).body.error).toBe("At least one instance relies on this profile's root disk device");
    expect((await put({ root: { ...ROOT.root, pool: 'other' } })).status).toBe(400);
    expect((await put({ root: { ...ROOT.root, size: '5GiB' } })).status).toBe(200);
  });

  it('keep their users when renamed', async () => {
    const api = await openWithPool();
    await api.call('POST', PATH, { body: { name: 'base', devices: ROOT } });
    await addInstance(api.db, 'c1', { profiles: ['base', 'default'] });
    await api.call('POST', `${PATH}/base`, { body: { name: 'root' } });
    expect((await api.db.select().from(instances))[0]?.profiles).toEqual(['root', 'default']);
    expect((await api.call('GET', `${PATH}/root`)).body.metadata.used_by).toEqual(['/1.0/instances/c1']);
  });

  it('keep the default one', async () => {
    const api = await openApi();
    expect((await api.call('DELETE', `${PATH}/default`)).body).toMatchObject({
      error_code: 403,
      error: 'The "default" profile cannot be deleted',
    });
    expect((await api.call('POST', `${PATH}/default`, { body: { name: 'x' } })).status).toBe(403);
  });
});

describe('projects', () => {
  const PROJECTS = '/1.0/projects';

  it('go through their life as lxc drives it', async () => {
    const api = await openApi();
    const create = () => api.call('POST', PROJECTS, { body: { name: 'pr1', config: { 'features.images': 'false' } } });
    expect((await create()).headers.get('location')).toBe(`${PROJECTS}/pr1`);
    expect((await create()).status).toBe(409);
    const shown = await api.call('GET', `${PROJECTS}/pr1`);
    const config = { 'features.images': 'false', 'features.profiles': 'true', 'features.storage.volumes': 'true' };
    expect(shown.body.metadata).toEqual({
      name: 'pr1',
      description: '',
      config,
      used_by: ['/1.0/profiles/default?project=pr1'],
    });
    expect((await api.call('GET', `${PATH}?project=pr1&recursion=1`)).body.metadata).toEqual([
      { name: 'default', description: 'Default LXD profile for project pr1', config: {}, devices: {}, used_by: [] },
    ]);
    const headers = { 'if-match': shown.headers.get('etag') ?? '' };
    const body = { config: { ...config, 'user.a': 'b' } };
    expect((await api.call('PUT', `${PROJECTS}/pr1`, { body, headers })).status).toBe(200);
    expect((await api.call('PUT', `${PROJECTS}/pr1`, { body, headers })).status).toBe(412);
    const renamed = await api.call('POST', `${PROJECTS}/pr1`, { body: { name: 'pr2' } });
    expect(renamed.status).toBe(202);
    const operation = await api.call('GET', renamed.headers.get('location') ?? '');
    expect(operation.body.metadata).toMatchObject({ description: 'Renaming project', status: 'Success' });
    expect((await api.call('GET', `${PATH}/default?project=pr2`)).status).toBe(200);
    expect((await api.call('DELETE', `${PROJECTS}/pr2`)).status).toBe(200);
    expect((await api.call('GET', PROJECTS)).body.metadata).toEqual([`${PROJECTS}/default`]);
    expect(await api.db.select().from(profiles)).toHaveLength(1);
  });

  it('stay, with their name and features, while something is in them', async () => {
    const api = await openApi();
    await api.call('POST', PROJECTS, { body: { name: 'pr1' } });
    await addInstance(api.db, 'c1', { project: 'pr1' });
    expect((await api.call('DELETE', `${PROJECTS}/pr1`)).body).toMatchObject({
      error_code: 500,
      error: 'Only empty projects can be removed',
    });
    expect((await api.call('POST', `${PROJECTS}/pr1`, { body: { name: 'x' } })).status).toBe(400);
    const body = { config: { 'features.profiles': 'false' } };
    expect((await api.call('PATCH', `${PROJECTS}/pr1`, { body })).status).toBe(400);
    await api.db.delete(instances);
    expect((await api.call('PATCH', `${PROJECTS}/pr1`, { body })).status).toBe(200);
    expect((await api.call('GET', `${PROJECTS}/pr1`)).body.metadata.used_by).toEqual([]);
  });

  it('without own profiles use those of the default project', async () => {
    const api = await openWithPool();
    await api.call('POST', PROJECTS, { body: { name: 'pr1', config: { 'features.profiles': 'false' } } });
    await addInstance(api.db, 'c1', { project: 'pr1', profiles: ['default'], devices: ROOT });
    expect((await api.call('GET', `${PATH}/default`)).body.metadata.used_by).toEqual(['/1.0/instances/c1?project=pr1']);
    expect((await api.call('GET', `${PATH}?project=pr1`)).body.metadata).toEqual([`${PATH}/default`]);
    await api.call('PATCH', `${PATH}/default`, { body: { config: { 'limits.cpu': '1' } } });
    expect(api.asked.delivered).toMatchObject([{ member: 'm1', command: { params: { spec: { project: 'pr1' } } } }]);
  });

  it('list all that is in them', async () => {
    const api = await openApi();
    await addInstance(api.db, 'c1');
    await api.db.insert(images).values({
      project: 'default',
      fingerprint: 'f',
      status: 'ready',
      type: 'container',
      architecture: 'x86_64',
      filename: '',
      sizeBytes: 1,
      properties: {},
      profiles: [],
      parts: [],
      createdAt: T0,
      uploadedAt: T0,
    });
    expect((await api.call('GET', `${PROJECTS}/default`)).body.metadata.used_by).toEqual([
      '/1.0/instances/c1',
      '/1.0/profiles/default',
      '/1.0/images/f',
    ]);
    expect((await api.call('GET', `${PROJECTS}/default/state`)).body.metadata.resources.instances).toEqual({
      Limit: -1,
      Usage: 1,
    });
  });

  it.each([
    [{ name: 'a/b' }, 'Project names may not contain slashes'],
    [{ name: 'a b' }, 'Project names may not contain spaces'],
    [{ name: 'a_b' }, 'Project names may not contain underscores'],
    [{ name: 'x', config: { nope: '1' } }, 'Invalid project configuration key "nope": Unknown key'],
    [{ name: 'x', config: { restricted: 'true' } }, /not supported/],
  ])('refuse %j', async (body, error) => {
    const api = await openApi();
    const answer = await api.call('POST', PROJECTS, { body });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatch(error);
  });

  it('keep the default one', async () => {
    const api = await openApi();
    expect((await api.call('DELETE', `${PROJECTS}/default`)).body).toMatchObject({
      error_code: 403,
      error: "The 'default' project cannot be deleted",
    });
  });
});
