/** Pools, networks, profiles and configuration as stock clients make them on a host that is no member yet. Pure. */
import { z } from 'zod';
import { AppError, badRequest, conflict, notFound } from '#protocol/errors.ts';
import { checkNetworkName, checkPoolName } from '#protocol/names.ts';
import { type Preseed, toPreseed } from '../init/preseed.ts';

export interface StagedRequest {
  method: string;
  /** The part of the path after `/1.0`; empty for the server itself. */
  collection: string;
  name: string;
  body: unknown;
  recursion: boolean;
}

export interface StagedAnswer {
  result: unknown;
  /** What is noted from now on; null when nothing changed. */
  preseed: Preseed | null;
  /** Of what was made. */
  location: string | null;
}

const SECTIONS = {
  'storage-pools': { key: 'storage_pools', thing: 'Storage pool', check: checkPoolName },
  networks: { key: 'networks', thing: 'Network', check: checkNetworkName },
  profiles: { key: 'profiles', thing: 'Profile', check: () => null },
} as const;

const NOT_YET = 'This host is not a member of a cluster yet: form or join one with "longshore init" or "lxd init"';

const DEFAULT_PROFILE = { name: 'default', description: 'Default LXD profile', config: {}, devices: {} };

/** Answers a request and says what is noted then. Throws LXD's refusals; 503 for what only a member can do. */
export function changeStaged(preseed: Preseed, request: StagedRequest): StagedAnswer {
  if (request.collection === '') return changeConfig(preseed, request);
  if (request.collection === 'projects') return readOnly(preseed, request);
  const section = Object.entries(SECTIONS).find(([name]) => name === request.collection)?.[1];
  if (section === undefined) {
    // Lists are empty here, so that clients which look first go on.
    if (request.method === 'GET' && request.name === '') return { result: [], preseed: null, location: null };
    throw new AppError('unavailable', NOT_YET);
  }
  return changeSection(preseed, request, section);
}

const Config = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String));
const ConfigBody = z.object({ config: Config.nullish().transform((value) => value ?? {}) });

function changeConfig(preseed: Preseed, { method, body }: StagedRequest): StagedAnswer {
  const { config } = ConfigBody.parse(body);
  const merged = method === 'PATCH' ? { ...preseed.config, ...config } : config;
  // The password is shown as "true", and comes back so.
  if (merged['core.trust_password'] === 'true')
    merged['core.trust_password'] = preseed.config['core.trust_password'] ?? '';
  const kept = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ''));
  return { result: {}, preseed: { ...preseed, config: kept }, location: null };
}

function readOnly(_preseed: Preseed, { method, name, recursion }: StagedRequest): StagedAnswer {
  if (method !== 'GET') throw new AppError('unavailable', NOT_YET);
  const project = { name: 'default', description: 'Default LXD project', config: {}, used_by: [] };
  if (name === 'default') return { result: project, preseed: null, location: null };
  if (name !== '') throw notFound('Project');
  return { result: recursion ? [project] : ['/1.0/projects/default'], preseed: null, location: null };
}

type Section = (typeof SECTIONS)[keyof typeof SECTIONS];
type Item = { name: string; description: string; config: Record<string, string> };

function changeSection(preseed: Preseed, request: StagedRequest, { key, thing, check }: Section): StagedAnswer {
  const { method, collection, body } = request;
  const noted: Item[] = preseed[key];
  const items =
    key === 'profiles' && !noted.some(({ name }) => name === 'default') ? [DEFAULT_PROFILE, ...noted] : noted;
  const show = (item: Item) => ({ ...item, ...shownAs(key, item), used_by: [] });
  const put = (list: readonly Item[]) => toPreseed({ ...preseed, [key]: list });
  if (request.name === '') {
    if (method === 'GET') {
      const result = request.recursion
        ? items.map(show)
        : items.map(({ name }) => `/1.0/${collection}/${encodeURIComponent(name)}`);
      return { result, preseed: null, location: null };
    }
    if (method !== 'POST') throw notFound('Page');
    const item = readItem(key, body);
    const refusal = check(item.name);
    if (refusal !== null) throw badRequest(refusal);
    if (items.some(({ name }) => name === item.name)) throw conflict(`The ${thing.toLowerCase()} already exists`);
    return {
      result: null,
      preseed: put([...noted, item]),
      location: `/1.0/${collection}/${encodeURIComponent(item.name)}`,
    };
  }
  const found = items.find(({ name }) => name === request.name);
  if (found === undefined) throw notFound(thing);
  const others = noted.filter(({ name }) => name !== found.name);
  if (method === 'GET') return { result: show(found), preseed: null, location: null };
  if (method === 'DELETE') return { result: {}, preseed: put(others), location: null };
  const changed = { ...found, ...readItem(key, { ...Object(body), name: found.name }) };
  return { result: {}, preseed: put([...others, changed]), location: null };
}

/** Fields that clients show and a preseed has not. */
const shownAs = (key: Section['key'], item: object) =>
  key === 'networks'
    ? { type: ('type' in item && item.type) || 'bridge', managed: true, status: 'Pending', locations: [] }
    : key === 'storage_pools'
      ? { status: 'Pending', locations: [] }
      : {};

/** Only what a preseed has; the rest of a request means nothing here. */
function readItem(key: Section['key'], body: unknown): Item {
  const fields = { storage_pools: ['driver'], networks: ['type'], profiles: ['devices'] }[key];
  const given = z.looseObject({ name: z.string() }).parse(body);
  const picked = ['name', 'description', 'config', ...fields].flatMap((field) =>
    field in given ? [[field, given[field]]] : [],
  );
  const [item] = toPreseed({ [key]: [Object.fromEntries(picked)] })[key];
  if (item === undefined) throw badRequest('Missing name');
  return item;
}
