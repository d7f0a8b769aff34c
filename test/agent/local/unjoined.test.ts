import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Api, createApi } from '#agent/init/api.ts';
import { applyPreseed } from '#agent/init/apply.ts';
import { parsePreseed } from '#agent/init/preseed.ts';
import { readStaged, writeStaged } from '#agent/init/staged.ts';
import { type LocalServer, serveOn } from '#agent/local/server.ts';
import { type ClusterRequest, createUnjoinedApi, type UnjoinedApi } from '#agent/local/unjoined.ts';
import { silentLog } from '#agent/log.ts';

const RESOURCES = {
  architecture: 'x86_64',
  kernel: 'Linux',
  kernelVersion: '6',
  osName: 'Debian',
  osVersion: '12',
  lxcVersion: '5',
  cpuCount: 2,
  memoryTotalBytes: 1,
  storageDrivers: [{ name: 'dir', version: '1' }],
  interfaces: [],
  addresses: [],
};

let directory: string;
let unjoined: UnjoinedApi;
let server: LocalServer;
let api: Api;
let entered: ClusterRequest[];
let work: () => Promise<void>;
const socketPath = () => join(directory, 'unix.socket');
const staged = () => readStaged(directory);

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-unjoined-'));
  entered = [];
  work = async () => {};
  unjoined = createUnjoinedApi({
    log: silentLog,
    hostname: 'node1',
    readResources: async () => RESOURCES,
    read: staged,
    write: (preseed) => writeStaged(directory, preseed),
    enter: (request) => {
      entered.push(request);
      return { description: 'Joining cluster', work: () => work() };
    },
  });
  server = await serveOn(unjoined.create, [socketPath()], 'nobody-has-this-group');
  api = createApi(socketPath());
});
afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

describe('a host that is no member', () => {
  it('says so, and offers its storage backends', async () => {
    expect(await api.get('/1.0')).toMatchObject({
      auth: 'trusted',
      environment: {
        server_clustered: false,
        server_name: 'node1',
        storage_supported_drivers: [{ Name: 'dir', Version: '1', Remote: false }],
      },
    });
    expect(await api.get('/1.0/cluster')).toEqual({ server_name: '', enabled: false, member_config: [] });
    await expect(api.get('/1.0/cluster/members')).rejects.toThrow('Server is not clustered');
    expect(await api.get('/1.0/instances?recursion=2')).toEqual([]);
    await expect(api.send('POST', '/1.0/instances', { name: 'c1' })).rejects.toThrow('not a member of a cluster yet');
  });

  it('notes what is made, changed and removed, and makes nothing', async () => {
    await api.send('POST', '/1.0/networks', { name: 'lxdbr0', type: '', config: { 'ipv4.nat': 'true' } });
    expect(await api.get('/1.0/networks?recursion=1')).toMatchObject([
      { name: 'lxdbr0', type: 'bridge', managed: true },
    ]);
    expect(await api.get('/1.0/networks')).toEqual(['/1.0/networks/lxdbr0']);
    await expect(api.send('POST', '/1.0/networks', { name: 'lxdbr0' })).rejects.toThrow('already exists');
    await expect(api.send('POST', '/1.0/networks', { name: '../x' })).rejects.toMatchObject({ code: 'bad_request' });
    await api.send('PUT', '/1.0/networks/lxdbr0', { config: { 'ipv4.nat': 'false' }, used_by: [] });
    expect(staged().networks).toMatchObject([{ name: 'lxdbr0', config: { 'ipv4.nat': 'false' } }]);
    await api.send('DELETE', '/1.0/networks/lxdbr0');
    expect(staged().networks).toEqual([]);
    expect(await api.find('/1.0/storage-pools/local')).toBeNull();
  });

  it('takes a whole preseed, as the cluster would', async () => {
    const preseed = parsePreseed(
      'config: {core.trust_password: sekret}\nstorage_pools:\n- {name: default, driver: dir}\nprofiles:\n' +
        '- name: default\n  devices: {root: {type: disk, path: /, pool: default}}',
    );
    await applyPreseed(api, preseed, () => {});
    expect(staged()).toMatchObject({ config: preseed.config, storage_pools: [{ name: 'default', driver: 'dir' }] });
    expect(staged().profiles[0]?.devices.root?.pool).toBe('default');
    expect(await api.get('/1.0')).toMatchObject({ config: { 'core.trust_password': 'true' } });
    await api.send('PUT', '/1.0', { config: { 'core.trust_password': 'true', 'user.a': 'b' } });
    expect(staged().config).toEqual({ 'core.trust_password': 'sekret', 'user.a': 'b' });
  });

  it('tells of a join on the event socket, and is over when that has closed', async () => {
    const socket = new WebSocket(`ws+unix://${socketPath()}:/1.0/events`);
    const seen: string[] = [];
    const ended = new Promise<void>((resolve) => {
      socket.on('message', (data) => {
        const { metadata } = JSON.parse(String(data));
        seen.push(metadata.status);
        if (metadata.status === 'Success') resolve();
      });
    });
    await new Promise((resolve) => socket.once('open', resolve));
    const request = { server_name: 'node1', enabled: true, member_config: null, cluster_address: '' };
    await api.send('PUT', '/1.0/cluster', request);
    await ended;
    expect(seen).toEqual(['Running', 'Success']);
    expect(entered).toMatchObject([{ server_name: 'node1', member_config: [] }]);
    await expect(api.send('PUT', '/1.0/cluster', request)).rejects.toThrow('already clustered');
    socket.close();
    await unjoined.joined;
  });

  it('lets a join that failed be tried again', async () => {
    work = () => Promise.reject(new Error('no control plane'));
    const request = { server_name: 'node1', enabled: true };
    await expect(api.send('PUT', '/1.0/cluster', request)).rejects.toThrow('no control plane');
    expect(unjoined.isBusy()).toBe(false);
    work = async () => {};
    await api.send('PUT', '/1.0/cluster', request);
    await unjoined.joined;
  });
});
