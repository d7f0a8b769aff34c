/**
 * A preseed's node part, brought about by the API in LXD's order: configuration, projects, pools, networks, profiles. What is
 * there is changed, what is not is made; when one step fails, everything before it is taken back in reverse order.
 */
import { z } from 'zod';
import { badRequest } from '#protocol/errors.ts';
import type { Api } from './api.ts';
import { LISTENING_KEYS } from './explain.ts';
import type { Preseed } from './preseed.ts';

const POOL_MEMBER_KEYS = ['source', 'size', 'zfs.pool_name', 'volatile.initial_source'];

const Config = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});
const Server = z.object({ config: Config });
const Described = z.object({
  description: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  config: Config,
});
const Pool = Described.extend({ driver: z.string() });
const Network = Described.extend({ type: z.string(), managed: z.boolean() });
const Profile = Described.extend({
  devices: z
    .record(z.string(), Config)
    .nullish()
    .transform((value) => value ?? {}),
});

interface Undo {
  what: string;
  run(): Promise<unknown>;
}

/** Applies everything or, by its own words, nothing: the error of the step that failed is thrown after the undoing. */
export async function applyPreseed(api: Api, preseed: Preseed, warn: (line: string) => void): Promise<void> {
  const undos: Undo[] = [];
  try {
    await applyConfig(api, preseed, undos);
    for (const project of preseed.projects) await applyProject(api, project, undos);
    for (const pool of preseed.storage_pools) await applyPool(api, pool, undos);
    for (const network of preseed.networks) await applyNetwork(api, network, undos);
    for (const profile of preseed.profiles) await applyProfile(api, profile, undos);
  } catch (error) {
    for (const undo of undos.reverse()) {
      await undo.run().catch((again: unknown) => {
        warn(`Cannot take back ${undo.what}: ${again instanceof Error ? again.message : again}`);
      });
    }
    throw error;
  }
}

const named = (name: string) => encodeURIComponent(name);

async function applyConfig(api: Api, { config }: Preseed, undos: Undo[]): Promise<void> {
  const wanted = Object.fromEntries(Object.entries(config).filter(([key]) => !LISTENING_KEYS.includes(key)));
  if (Object.keys(wanted).length === 0) return;
  const before = Server.parse(await api.get('/1.0')).config;
  await api.send('PATCH', '/1.0', { config: wanted });
  // A key that was not there is taken away by an empty value; the password comes back as "true", which leaves it alone.
  const back = Object.fromEntries(Object.keys(wanted).map((key) => [key, before[key] ?? '']));
  undos.push({ what: 'the configuration', run: () => api.send('PATCH', '/1.0', { config: back }) });
}

async function applyProject(api: Api, project: Preseed['projects'][number], undos: Undo[]): Promise<void> {
  const path = `/1.0/projects/${named(project.name)}`;
  const found = await api.find(path);
  if (found === null) {
    await api.send('POST', '/1.0/projects', project);
    undos.push({ what: `project "${project.name}"`, run: () => api.send('DELETE', path) });
    return;
  }
  await change(api, path, `project "${project.name}"`, Described.parse(found), project, undos);
}

async function applyPool(api: Api, pool: Preseed['storage_pools'][number], undos: Undo[]): Promise<void> {
  const path = `/1.0/storage-pools/${named(pool.name)}`;
  const found = await api.find(path);
  if (found === null) {
    const { name, driver, description, config } = pool;
    await make(api, '/1.0/storage-pools', path, { name, driver, description, config }, undos);
    return;
  }
  const current = Pool.parse(found);
  if (pool.driver !== '' && current.driver !== pool.driver) {
    throw badRequest(`Storage pool "${pool.name}" is of type "${current.driver}" instead of "${pool.driver}"`);
  }
  // Each member's own keys were settled when the pool was made there.
  const config = Object.fromEntries(Object.entries(pool.config).filter(([key]) => !POOL_MEMBER_KEYS.includes(key)));
  await change(api, path, `storage pool "${pool.name}"`, current, { ...pool, config }, undos);
}

async function applyNetwork(api: Api, network: Preseed['networks'][number], undos: Undo[]): Promise<void> {
  const path = `/1.0/networks/${named(network.name)}`;
  const found = await api.find(path);
  const { name, description, config } = network;
  if (found === null || !Network.parse(found).managed) {
    await make(api, '/1.0/networks', path, { name, type: network.type || 'bridge', description, config }, undos);
    return;
  }
  await change(api, path, `network "${name}"`, Network.parse(found), network, undos);
}

async function applyProfile(api: Api, profile: Preseed['profiles'][number], undos: Undo[]): Promise<void> {
  const path = `/1.0/profiles/${named(profile.name)}`;
  const found = await api.find(path);
  if (found === null) {
    await make(api, '/1.0/profiles', path, profile, undos);
    return;
  }
  const current = Profile.parse(found);
  await api.send('PUT', path, {
    description: profile.description || current.description,
    config: { ...current.config, ...profile.config },
    devices: { ...current.devices, ...profile.devices },
  });
  undos.push({ what: `profile "${profile.name}"`, run: () => api.send('PUT', path, current) });
}

/** Creating may fail after the thing is there, unfinished: it is taken away then too. */
async function make(
  api: Api,
  collection: string,
  path: string,
  body: { name: string; [key: string]: unknown },
  undos: Undo[],
): Promise<void> {
  const undo = { what: `"${body.name}"`, run: () => api.send('DELETE', path) };
  try {
    await api.send('POST', collection, body);
    undos.push(undo);
  } catch (error) {
    if ((await api.find(path).catch(() => null)) !== null) undos.push(undo);
    throw error;
  }
}

async function change(
  api: Api,
  path: string,
  what: string,
  current: z.infer<typeof Described>,
  wanted: { description: string; config: Record<string, string> },
  undos: Undo[],
): Promise<void> {
  const config = { ...current.config, ...wanted.config };
  const description = wanted.description || current.description;
  if (JSON.stringify([config, description]) === JSON.stringify([current.config, current.description])) return;
  await api.send('PUT', path, { description, config });
  undos.push({ what, run: () => api.send('PUT', path, { description: current.description, config: current.config }) });
}
