/**
 * Forming a cluster: this host becomes the first member, then the preseed is brought about through its own API. When that
 * fails, what was made is taken back and the host leaves again, so that the next try starts where this one did.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { badRequest, failed } from '#protocol/errors.ts';
import { DEFAULT_DATA_DIR } from '../config.ts';
import { joinPaths } from '../join/files.ts';
import { type JoinDeps, type JoinOptions, joinCluster } from '../join/join.ts';
import type { JoinRight } from '../join/right.ts';
import { isBootstrapToken, parseAnyToken } from '../join/token.ts';
import { removeState } from '../leave/clean-up.ts';
import { type Api, createApi } from './api.ts';
import { applyPreseed } from './apply.ts';
import type { Preseed } from './preseed.ts';

/** The agent that serves the API while the preseed is applied. */
export interface FormingAgent {
  socketPath: string;
  /** Ends it, if it is not to stay. */
  release(): Promise<void>;
  /** Ends it for good: the host has left again. */
  remove(): Promise<void>;
}

export interface FormDeps extends JoinDeps {
  /** The agent of the host that has just joined, running or started for this. */
  openAgent(configDir: string): Promise<FormingAgent>;
  warn(line: string): void;
}

export interface FormOptions extends Omit<JoinOptions, 'right' | 'name' | 'first'> {
  serverName: string;
  /** A bootstrap token, or a join token when the control plane has no members. */
  token: string;
  preseed: Preseed;
}

const ONLINE_LIMIT_MS = 60_000;
const POLL_MS = 100;

/** Resolves when everything is there. Throws with nothing left behind, unless it says so by `warn`. */
export async function formCluster(deps: FormDeps, options: FormOptions): Promise<void> {
  checkReferences(options.preseed);
  const right = rightOf(options);
  const { serverName: _, token: __, preseed, ...places } = options;
  const dataDir = options.settings.dataDir ?? DEFAULT_DATA_DIR;
  const before = { key: existsSync(joinPaths(options.configDir).key), state: existsSync(join(dataDir, 'agent.db')) };
  const member = await joinCluster(deps, { ...places, right, first: true });
  const agent = await deps.openAgent(options.configDir);
  const api = createApi(agent.socketPath);
  try {
    await untilOnline(api, member);
    await applyPreseed(api, preseed, deps.warn);
  } catch (error) {
    await leaveAgain(deps, options, { api, agent, member, dataDir, before });
    throw error;
  }
  await agent.release();
}

function rightOf({ token, serverName }: FormOptions): JoinRight {
  const parsed = parseAnyToken(token);
  if (isBootstrapToken(parsed)) return { kind: 'bootstrap', serverName, token };
  if (parsed.server_name !== serverName) {
    throw badRequest(`The token is for "${parsed.server_name}", not for "${serverName}"`);
  }
  return { kind: 'token', token };
}

/** A fresh cluster has only what the preseed brings: a pool that is missing there can be told ahead. */
export function checkReferences({ profiles, storage_pools }: Preseed): void {
  const pools = new Set(storage_pools.map(({ name }) => name));
  for (const [index, profile] of profiles.entries()) {
    for (const [device, { type, pool }] of Object.entries(profile.devices)) {
      if (type === 'disk' && pool !== undefined && !pools.has(pool)) {
        throw badRequest(`profiles[${index}].devices.${device}.pool: there is no storage pool "${pool}"`);
      }
    }
  }
  for (const [index, pool] of storage_pools.entries()) {
    if (pool.driver === '') throw badRequest(`storage_pools[${index}].driver: is needed`);
  }
}

const Member = z.object({ status: z.string(), message: z.string() });

async function untilOnline(api: Api, member: string): Promise<void> {
  const deadline = Date.now() + ONLINE_LIMIT_MS;
  let last = 'the agent does not answer';
  while (Date.now() < deadline) {
    try {
      const { status, message } = Member.parse(await api.get(`/1.0/cluster/members/${encodeURIComponent(member)}`));
      if (status === 'Online') return;
      last = message;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    await delay(POLL_MS);
  }
  throw failed(`This host has joined, but does not come online: ${last}`);
}

interface Formed {
  api: Api;
  agent: FormingAgent;
  member: string;
  dataDir: string;
  /** What of an agent was on the host ahead of this. */
  before: { key: boolean; state: boolean };
}

async function leaveAgain(deps: FormDeps, options: FormOptions, formed: Formed): Promise<void> {
  const { api, agent, member, dataDir, before } = formed;
  try {
    await api.send('DELETE', `/1.0/cluster/members/${encodeURIComponent(member)}`);
  } catch (error) {
    deps.warn(`Cannot leave the cluster again: ${error instanceof Error ? error.message : error}`);
    await agent.release();
    return;
  }
  await agent.remove();
  const paths = joinPaths(options.configDir);
  rmSync(paths.config, { force: true });
  rmSync(paths.record, { force: true });
  if (!before.key) rmSync(paths.key, { force: true });
  if (!before.state) removeState(dataDir);
}
