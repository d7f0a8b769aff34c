/**
 * API extensions that no other test shows by itself, each by what LXD says of it. `test/worker-unit/domain/api-extensions.test.ts`
 * looks for them here by name.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type ApiAnswer, api } from './api.ts';
import { administrator, get, makeIdentity } from './raw.ts';
import { lxc, newName, removeInstances, waitFor } from './support.ts';

const name = newName('shown');
const other = newName('shown-other');
const profile = newName('shown-profile');
const project = newName('shown-project');
const directory = mkdtempSync(join(tmpdir(), 'longshore-extensions-'));

const Config = z.record(z.string(), z.string());
const url = `/1.0/instances/${name}`;

const call = (method: string, path: string, body?: unknown): Promise<ApiAnswer> =>
  api({ method, path, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });

/** The metadata of an answer, which must be good. */
async function look<T>(schema: z.ZodType<T>, path: string): Promise<T> {
  const { status, body } = await call('GET', path);
  expect({ path, status, error: body.error }).toEqual({ path, status: 200, error: '' });
  return schema.parse(body.metadata);
}

/** Runs what answers with an operation, to its success. */
async function operate(method: string, path: string, body?: unknown): Promise<void> {
  const begun = await call(method, path, body);
  expect({ path, status: begun.status, error: begun.body.error }).toEqual({ path, status: 202, error: '' });
  const { body: ended } = await call('GET', `${begun.body.operation}/wait`);
  expect(ended.metadata).toMatchObject({ status: 'Success', err: '' });
}

/** A PATCH, which must be good. */
async function change(path: string, body: unknown): Promise<void> {
  const { status, body: answer } = await call('PATCH', path, body);
  expect({ path, status, error: answer.error }).toEqual({ path, status: 200, error: '' });
}

const create = (at: string, instance: string, more: Record<string, unknown> = {}) =>
  operate('POST', at, { name: instance, source: { type: 'image', alias: 'tiny' }, start: true, ...more });

beforeAll(async () => {
  expect((await call('POST', '/1.0/profiles', { name: profile, description: 'Shown' })).status).toBe(201);
  await create('/1.0/instances?target=host1', name, { profiles: ['default', profile] });
  const features = { 'features.images': 'false', 'features.profiles': 'false' };
  expect((await call('POST', '/1.0/projects', { name: project, config: features })).status).toBe(201);
  await create(`/1.0/instances?project=${project}&target=host2`, other);
});
afterAll(async () => {
  await removeInstances([name]);
  await lxc('delete', '--force', '--project', project, other);
  await lxc('project', 'delete', project);
  await lxc('profile', 'delete', profile);
  rmSync(directory, { recursive: true, force: true });
});

/** One test for what the extension promises. */
const shows = (extension: string, promise: string, test: () => Promise<void>) => it(`${extension}: ${promise}`, test);

describe('instances', () => {
  const Instance = z.looseObject({ name: z.string(), project: z.string(), status: z.string(), config: Config });

  shows('instances', 'containers are under /1.0/instances, too', async () => {
    expect(await look(z.array(z.string()), '/1.0/instances')).toContain(url);
    expect(await look(z.array(z.string()), '/1.0/containers')).toContain(`/1.0/containers/${name}`);
  });
  shows('instance_create_start', 'one request creates and starts', async () => {
    expect(await look(Instance, url)).toMatchObject({ name, status: 'Running' });
  });
  shows('container_last_used_at', 'says when it was started last', async () => {
    const { last_used_at } = await look(z.object({ last_used_at: z.string() }), url);
    expect(Date.now() - Date.parse(last_used_at)).toBeLessThan(3_600_000);
  });
  shows('container_image_properties', 'properties of the image are in its config', async () => {
    const { config } = await look(Instance, url);
    expect(Object.keys(config)).toEqual(expect.arrayContaining(['image.os', 'image.description']));
  });
  shows('container_cpu_time', 'its state tells the CPU time used', async () => {
    const State = z.object({ cpu: z.object({ usage: z.number() }) });
    expect((await look(State, `${url}/state`)).cpu.usage).toBeGreaterThan(0);
  });
  shows('container_full', 'recursion=2 lists instances with state, snapshots and backups', async () => {
    const list = await look(z.array(z.looseObject({ name: z.string() })), '/1.0/instances?recursion=2');
    const [own] = list.filter((one) => one.name === name);
    expect(own).toMatchObject({ state: { status: 'Running' } });
    expect(Object.keys(own ?? {})).toEqual(expect.arrayContaining(['snapshots', 'backups']));
  });
  shows('instance_get_full', 'recursion=1 shows one with its state', async () => {
    expect(await look(Instance, `${url}?recursion=1`)).toMatchObject({ name, state: { status: 'Running' } });
  });
  shows('instance_all_projects', 'all-projects lists those of every project, which each names', async () => {
    const list = await look(z.array(Instance), '/1.0/instances?recursion=1&all-projects=true');
    expect(
      list
        .filter((one) => [name, other].includes(one.name))
        .map((one) => one.project)
        .sort(),
    ).toEqual(['default', project].sort());
  });
  shows('instance_nic_network', 'a NIC names its network', async () => {
    const { expanded_devices: devices } = await look(z.object({ expanded_devices: z.record(z.string(), Config) }), url);
    expect(devices.eth0).toMatchObject({ type: 'nic', network: 'lxdbr0' });
    expect(devices.eth0).not.toHaveProperty('parent');
  });
  shows('container_protection_delete', 'a protected one is not deleted', async () => {
    await change(url, { config: { 'security.protection.delete': 'true' } });
    const refused = await lxc('delete', '--force', name);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('protected');
    await change(url, { config: { 'security.protection.delete': '' } });
    // The client stops what it is to delete by force.
    await operate('PUT', `${url}/state`, { action: 'start', timeout: 30 });
  });
  shows('instance_bulk_state_change', 'one request changes the state of all of a project', async () => {
    const at = `/1.0/instances?project=${project}`;
    await operate('PUT', at, { state: { action: 'stop', force: true, timeout: 30 } });
    expect(await look(Instance, `/1.0/instances/${other}?project=${project}`)).toMatchObject({ status: 'Stopped' });
    // Those of other projects are as they were.
    expect(await look(Instance, url)).toMatchObject({ status: 'Running' });
    await operate('PUT', at, { state: { action: 'start', timeout: 30 } });
    expect(await look(Instance, `/1.0/instances/${other}?project=${project}`)).toMatchObject({ status: 'Running' });
  });
});

describe('objects', () => {
  const Profile = z.looseObject({ name: z.string(), config: Config, used_by: z.array(z.string()) });
  const at = `/1.0/profiles/${profile}`;

  shows('etag', 'an answer has an ETag, and a change that names another is refused', async () => {
    const { headers } = await call('GET', at);
    expect(headers.etag).toMatch(/\w/);
    const body = JSON.stringify({ config: {}, devices: {}, description: 'Shown' });
    const replace = async (match: string) =>
      (await api({ method: 'PUT', path: at, body, headers: { 'if-match': match } })).body;
    expect(await replace('"another"')).toMatchObject({ error_code: 412 });
    expect(await replace(headers.etag ?? '')).toMatchObject({ error: '', type: 'sync' });
  });
  shows('patch', 'PATCH changes what it names and nothing else', async () => {
    for (const key of ['user.a', 'user.b']) {
      await change(at, { config: { [key]: '1' } });
    }
    expect((await look(Profile, at)).config).toEqual({ 'user.a': '1', 'user.b': '1' });
  });
  shows('entity_description', 'objects have descriptions', async () => {
    const Described = z.object({ description: z.string() });
    expect((await look(Described, at)).description).toBe('Shown');
    await change(url, { description: 'An instance' });
    expect((await look(Described, url)).description).toBe('An instance');
    for (const path of ['/1.0/storage-pools/default', '/1.0/networks/lxdbr0', '/1.0/projects/default']) {
      await look(Described, path);
    }
  });
  shows('profile_usedby', 'a profile names the instances that use it', async () => {
    expect((await look(Profile, at)).used_by).toEqual([url]);
  });
  shows(
    'usedby_consistency',
    'users are named with their project, and with their member where it matters',
    async () => {
      const Used = z.object({ used_by: z.array(z.string()) });
      const inProject = `/1.0/instances/${other}?project=${project}`;
      expect((await look(Used, '/1.0/profiles/default')).used_by).toEqual(expect.arrayContaining([url, inProject]));
      expect((await look(Used, '/1.0/storage-pools/default')).used_by).toEqual(
        expect.arrayContaining([url, inProject]),
      );
      expect((await look(Used, `/1.0/projects/${project}`)).used_by).toContain(inProject);
    },
  );
  shows('profiles_all_projects', 'all-projects lists the profiles of every project', async () => {
    const list = await look(z.array(Profile), '/1.0/profiles?recursion=1&all-projects=true');
    expect(list.map((one) => one.name)).toEqual(expect.arrayContaining(['default', profile]));
  });
  shows('api_filtering', 'lists are filtered by an expression', async () => {
    const Names = z.array(z.object({ name: z.string() }));
    const filtered = (expression: string) =>
      look(Names, `/1.0/instances?recursion=1&filter=${encodeURIComponent(expression)}`);
    expect(await filtered(`name eq ${name} and status eq Running`)).toEqual([{ name }]);
    expect(await filtered(`name eq ${name} and status eq Stopped`)).toEqual([]);
    expect((await call('GET', '/1.0/instances?filter=nonsense')).status).toBe(400);
  });
  shows('project_usage', 'a project tells how much of its limits is used', async () => {
    const Usage = z.object({ resources: z.record(z.string(), z.object({ Limit: z.number(), Usage: z.number() })) });
    expect((await look(Usage, `/1.0/projects/${project}/state`)).resources.containers).toEqual({ Limit: -1, Usage: 1 });
  });
  shows('certificate_update', 'a trusted certificate is changed in place', async () => {
    const { file } = await makeIdentity(directory, 'shown');
    expect(await lxc('config', 'trust', 'add', file, '--name', 'shown')).toMatchObject({ code: 0 });
    const Trusted = z.object({ name: z.string(), type: z.string(), fingerprint: z.string(), projects: z.unknown() });
    const own = async () =>
      (await look(z.array(Trusted), '/1.0/certificates?recursion=1')).filter((one) => one.name.startsWith('shown'));
    const [{ fingerprint } = { fingerprint: '' }] = await own();
    const changed = { name: 'shown again', type: 'client', restricted: true, projects: [project] };
    expect((await call('PUT', `/1.0/certificates/${fingerprint}`, changed)).status).toBe(200);
    expect(await own()).toMatchObject([{ name: 'shown again', projects: [project] }]);
    expect((await call('DELETE', `/1.0/certificates/${fingerprint}`)).status).toBe(200);
  });
});

describe('files', () => {
  const file = (path: string) => `${url}/files?path=${encodeURIComponent(path)}`;
  const write = (path: string, body: string, headers: Record<string, string>) =>
    api({ method: 'POST', path: file(path), body, headers });

  shows('file_append', 'content is added to a file', async () => {
    expect((await write('/tmp/shown', 'one ', {})).status).toBe(200);
    expect((await write('/tmp/shown', 'two', { 'x-lxd-write': 'append' })).status).toBe(200);
    expect((await get(file('/tmp/shown'), administrator())).text).toBe('one two');
  });
  shows('file_symlinks', 'a symlink is made', async () => {
    expect((await write('/tmp/link', 'shown', { 'x-lxd-type': 'symlink' })).status).toBe(200);
    expect((await lxc('exec', name, '--', 'readlink', '/tmp/link')).stdout).toBe('shown\n');
  });
  shows('file_get_symlink', 'a symlink is read as what it is, made absolute', async () => {
    const { headers, text } = await get(file('/tmp/link'), administrator());
    expect([headers['x-lxd-type'], text]).toEqual(['symlink', '/tmp/shown']);
  });
});

describe('the server', () => {
  const Server = z.object({
    environment: z.looseObject({
      os_name: z.string().min(1),
      os_version: z.string().min(1),
      storage_supported_drivers: z.array(z.object({ Name: z.string(), Version: z.string(), Remote: z.boolean() })),
    }),
  });

  shows('api_os', 'names the operating system', async () => {
    await look(Server, '/1.0');
  });
  shows('server_supported_storage_drivers', 'names the storage drivers that can be used', async () => {
    const { environment } = await look(Server, '/1.0');
    expect(environment.storage_supported_drivers.map((driver) => driver.Name)).toEqual(
      expect.arrayContaining(['zfs', 'dir']),
    );
  });
  shows('resources', 'tells the hardware of a member', async () => {
    const Hardware = z.object({ cpu: z.object({ total: z.number() }), memory: z.object({ total: z.number() }) });
    const { cpu, memory } = await look(Hardware, '/1.0/resources?target=host2');
    expect([cpu.total > 0, memory.total > 2 ** 20]).toEqual([true, true]);
  });
  shows('resources_v2', 'tells sockets, cores and threads, and network ports', async () => {
    const Thread = z.object({ id: z.number(), online: z.boolean() });
    const Core = z.object({ core: z.number(), threads: z.array(Thread).min(1) });
    const Hardware = z.object({
      cpu: z.object({ architecture: z.string(), sockets: z.array(z.object({ cores: z.array(Core).min(1) })).min(1) }),
      network: z.object({ cards: z.array(z.object({ ports: z.array(z.object({ address: z.string() })) })) }),
      storage: z.object({ disks: z.array(z.unknown()) }),
    });
    await look(Hardware, '/1.0/resources?target=host2');
  });
  shows('clustering_architecture', 'a member has its architecture', async () => {
    const Member = z.object({ architecture: z.string() });
    expect((await look(Member, '/1.0/cluster/members/host1')).architecture).toBe('x86_64');
  });
  shows(
    'storage_api_volume_snapshots',
    'snapshots of volumes are listed, of which there are none, and making one is refused',
    async () => {
      const volume = newName('shown-volume');
      const made = await call('POST', '/1.0/storage-pools/default/volumes/custom?target=host1', { name: volume });
      expect(made.body.error).toBe('');
      const at = `/1.0/storage-pools/default/volumes/custom/${volume}`;
      expect(await look(z.array(z.string()), `${at}/snapshots?target=host1`)).toEqual([]);
      const refused = await call('POST', `${at}/snapshots?target=host1`, { name: 'snap0' });
      expect([refused.status >= 400, refused.body.type]).toEqual([true, 'error']);
      expect((await call('DELETE', `${at}?target=host1`)).status).toBe(200);
    },
  );
});

describe('networks', () => {
  const Lease = z.object({ hostname: z.string(), address: z.string(), hwaddr: z.string(), location: z.string() });
  const own = async () =>
    (await look(z.array(Lease), '/1.0/networks/lxdbr0/leases')).filter((one) => one.hostname === name);

  shows('network_leases', 'leases are listed', async () => {
    expect((await own()).map(({ address }) => address)).toContainEqual(expect.stringMatching(/^10\.|^192\.|^172\./));
  });
  shows('network_leases_location', 'each says on which member it is', async () => {
    expect(new Set((await own()).map(({ location }) => location))).toEqual(new Set(['host1']));
  });
  shows('network_state', 'addresses and counters of its interface are told', async () => {
    const State = z.object({
      addresses: z.array(z.object({ family: z.string(), address: z.string() })),
      counters: z.object({ bytes_sent: z.number() }),
      mtu: z.number(),
      state: z.string(),
    });
    expect(await look(State, '/1.0/networks/lxdbr0/state?target=host1')).toMatchObject({ state: 'up' });
  });
});

describe('images', () => {
  const Image = z.looseObject({
    type: z.string(),
    fingerprint: z.string(),
    profiles: z.array(z.string()),
    aliases: z.array(z.looseObject({ name: z.string() })),
  });
  const tiny = async () =>
    (await look(z.array(Image), '/1.0/images?recursion=1')).find(({ aliases }) =>
      aliases.some((one) => one.name === 'tiny'),
    );

  shows('image_types', 'an image says what it is for', async () => {
    expect(await tiny()).toMatchObject({ type: 'container' });
  });
  shows('image_profiles', 'who names no profiles gets the image’s', async () => {
    const image = await tiny();
    const path = `/1.0/images/${image?.fingerprint}`;
    const from = newName('shown-profiles');
    await change(path, { profiles: ['default', profile] });
    try {
      await create('/1.0/instances', from);
    } finally {
      await change(path, { profiles: image?.profiles });
    }
    expect(await look(z.object({ profiles: z.array(z.string()) }), `/1.0/instances/${from}`)).toEqual({
      profiles: ['default', profile],
    });
    await removeInstances([from]);
  });
});

describe('operations and events', () => {
  const Operation = z.looseObject({ description: z.string(), resources: z.unknown() });
  const Event = z.looseObject({
    type: z.string(),
    project: z.string().optional(),
    location: z.string().optional(),
    metadata: z.looseObject({
      action: z.string(),
      source: z.string(),
      requestor: z.looseObject({ address: z.string() }).optional(),
    }),
  });
  const events = (from: number) => look(z.array(Event), `/1.0/events?since=${from}&all-projects=true&type=lifecycle`);

  shows('operation_description', 'an operation says what it does', async () => {
    const begun = await call('PUT', `${url}/state`, { action: 'restart', force: true, timeout: 30 });
    expect(Operation.parse(begun.body.metadata).description).toMatch(/Restarting/);
    expect((await call('GET', `${begun.body.operation}/wait`)).body.metadata).toMatchObject({ status: 'Success' });
  });
  shows('operations_get_query_all_projects', 'all-projects lists those of every project', async () => {
    const begun = await call('PUT', `/1.0/instances/${other}/state?project=${project}`, {
      action: 'restart',
      force: true,
      timeout: 30,
    });
    const ByStatus = z.record(z.string(), z.array(z.looseObject({ id: z.string() })));
    const ids = async (query: string) =>
      Object.values(await look(ByStatus, `/1.0/operations?recursion=1&${query}`))
        .flat()
        .map(({ id }) => id);
    const id = begun.body.operation?.split('/').at(-1);
    expect(await ids('all-projects=true')).toContain(id);
    expect(await ids('project=default')).not.toContain(id);
    await call('GET', `${begun.body.operation}/wait`);
  });
  const restarted = () =>
    waitFor('the event', async () => {
      const list = await events(0);
      return list.findLast(
        ({ metadata }) => metadata.action === 'instance-restarted' && metadata.source.includes(other),
      );
    });
  shows('event_lifecycle', 'what happens to an instance is an event', async () => {
    expect(await restarted()).toMatchObject({ type: 'lifecycle' });
  });
  shows('event_project', 'it names the project', async () => {
    expect(await restarted()).toMatchObject({ project });
  });
  shows('event_location', 'it names the member', async () => {
    expect(await restarted()).toMatchObject({ location: 'host2' });
  });
  shows(
    'event_lifecycle_requestor_address',
    'an event of a change names who asked for it, and from where',
    async () => {
      const source = `/1.0/profiles/${profile}`;
      await change(source, { config: { 'user.c': '1' } });
      const event = await waitFor('the event', async () =>
        (await events(0)).find(({ metadata }) => metadata.action === 'profile-updated' && metadata.source === source),
      );
      expect(event.metadata.requestor).toMatchObject({ protocol: 'tls', address: expect.stringMatching(/[.:]/) });
    },
  );
});
