import { expect, it } from 'vitest';
import type { Api } from '#agent/init/api.ts';
import { applyPreseed } from '#agent/init/apply.ts';
import { parsePreseed } from '#agent/init/preseed.ts';
import { AppError, badRequest } from '#protocol/errors.ts';

/** A cluster of objects by path; `fails` is the request that it refuses. */
function fakeApi(
  there: Record<string, object>,
  fails?: string,
): { api: Api; sent: string[]; objects: Record<string, object> } {
  const objects: Record<string, object> = { '/1.0': { config: {} }, ...there };
  const sent: string[] = [];
  const send: Api['send'] = async (method, path, body) => {
    const request = `${method} ${path}`;
    sent.push(request);
    if (request === fails) throw badRequest('refused');
    const name = body !== null && typeof body === 'object' && 'name' in body ? `/${String(body.name)}` : '';
    if (method === 'DELETE') delete objects[path];
    else if (path !== '/1.0')
      objects[`${path}${method === 'POST' ? name : ''}`] = { ...objects[path], ...Object(body) };
    return {};
  };
  const get = async (path: string) => {
    if (!(path in objects)) throw new AppError('not_found', 'not found');
    return objects[path];
  };
  return { api: { get, find: (path) => get(path).catch(() => null), send }, sent, objects };
}

const DEFAULT_PROFILE = { '/1.0/profiles/default': { name: 'default', description: '', config: {}, devices: {} } };
const PRESEED = parsePreseed(`config: {core.trust_password: sekret, core.https_address: '10.0.0.1:8443'}
storage_pools:
- {name: local, driver: dir}
networks:
- {name: br0, config: {ipv4.nat: true}}
profiles:
- name: default
  devices: {root: {type: disk, path: /, pool: local}}
`);
const silent = () => {};

it('makes what is not there in LXD’s order, and leaves listening addresses alone', async () => {
  const { api, sent, objects } = fakeApi(DEFAULT_PROFILE);
  await applyPreseed(api, PRESEED, silent);
  expect(sent).toEqual(['PATCH /1.0', 'POST /1.0/storage-pools', 'POST /1.0/networks', 'PUT /1.0/profiles/default']);
  expect(objects['/1.0/networks/br0']).toMatchObject({ type: 'bridge', config: { 'ipv4.nat': 'true' } });
});

it('takes everything back in reverse when a step fails, and throws that step’s error', async () => {
  const { api, sent, objects } = fakeApi(DEFAULT_PROFILE, 'PUT /1.0/profiles/default');
  await expect(applyPreseed(api, PRESEED, silent)).rejects.toThrow('refused');
  expect(sent.slice(4)).toEqual(['DELETE /1.0/networks/br0', 'DELETE /1.0/storage-pools/local', 'PATCH /1.0']);
  expect(Object.keys(objects).sort()).toEqual(['/1.0', '/1.0/profiles/default']);
});

it('goes on taking back when one thing cannot be, and says so', async () => {
  const { api, sent } = fakeApi(DEFAULT_PROFILE, 'PUT /1.0/profiles/default');
  const stubborn: Api = {
    ...api,
    send: (method, path, body) =>
      method === 'DELETE' && path.includes('networks')
        ? Promise.reject(badRequest('in use'))
        : api.send(method, path, body),
  };
  const warned: string[] = [];
  await expect(applyPreseed(stubborn, PRESEED, (line) => warned.push(line))).rejects.toThrow('refused');
  expect(warned).toEqual(['Cannot take back "br0": in use']);
  expect(sent).toContain('DELETE /1.0/storage-pools/local');
});

it('changes what is there, and nothing when it is as wanted', async () => {
  const there = {
    ...DEFAULT_PROFILE,
    '/1.0/storage-pools/local': { name: 'local', driver: 'dir', description: '', config: {} },
    '/1.0/networks/br0': {
      name: 'br0',
      type: 'bridge',
      managed: true,
      description: '',
      config: { 'ipv4.nat': 'false' },
    },
  };
  const { api, sent } = fakeApi(there);
  await applyPreseed(api, PRESEED, silent);
  expect(sent).toEqual(['PATCH /1.0', 'PUT /1.0/networks/br0', 'PUT /1.0/profiles/default']);
});

it('refuses a pool of another driver', async () => {
  const there = { '/1.0/storage-pools/local': { name: 'local', driver: 'zfs', description: '', config: {} } };
  await expect(applyPreseed(fakeApi(there).api, PRESEED, silent)).rejects.toThrow(
    'Storage pool "local" is of type "zfs" instead of "dir"',
  );
});
