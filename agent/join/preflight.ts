/**
 * What the host has of the names that the cluster's pools and networks will need. An empty pool or a bridge of the right name
 * is adopted; anything that cannot be is the reason not to join, found before anything is changed anywhere.
 */
import { AppError, badRequest } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { JoinPlan } from '#protocol/join.ts';
import { findContent } from '../drivers/storage/disk-source.ts';
import { createLayout } from '../drivers/storage/layout.ts';
import { isClaimed } from '../drivers/storage/rooted-pool.ts';
import { type Exec, ExecError } from '../system/exec.ts';
import { findPathKind, listDirectory } from '../system/fs.ts';
import { configOf, type MemberConfig, mergeMemberConfig } from './member-config.ts';

export interface PreflightDeps {
  exec: Exec;
  dataDir: string;
  resources: Pick<HostResources, 'interfaces' | 'storageDrivers'>;
}

export interface Preflight {
  memberConfig: MemberConfig;
  /** One line for each pool and network: what will be made or kept. */
  lines: string[];
}

type Pool = JoinPlan['pools'][number];

/** Looks and changes nothing. Throws `bad_request` with the pool or network and the reason. */
export async function checkHost(deps: PreflightDeps, plan: JoinPlan, given: MemberConfig): Promise<Preflight> {
  const lines: string[] = [];
  let memberConfig = given;
  for (const pool of plan.pools) {
    try {
      const found = await checkPool(deps, pool, configOf('storage-pool', pool.name, given));
      lines.push(`Storage pool "${pool.name}" (${pool.driver}): ${found.text}`);
      memberConfig = mergeMemberConfig(memberConfig, found.adopt ?? []);
    } catch (error) {
      throw badRequest(`Cannot join: storage pool "${pool.name}": ${reasonOf(error)}`, error);
    }
  }
  for (const { name } of plan.networks) {
    const face = deps.resources.interfaces.find((one) => one.name === name);
    if (face !== undefined && face.type !== 'bridge') {
      throw badRequest(`Cannot join: network "${name}": this host has an interface of that name that is no bridge`);
    }
    lines.push(
      `Network "${name}": ${face === undefined ? 'will be made' : 'the bridge that is there is kept and used'}`,
    );
  }
  return { memberConfig, lines };
}

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

interface Finding {
  text: string;
  adopt?: MemberConfig;
}

async function checkPool(deps: PreflightDeps, pool: Pool, own: Record<string, string>): Promise<Finding> {
  if (!deps.resources.storageDrivers.some(({ name }) => name === pool.driver)) {
    throw badRequest(`this host cannot use ${pool.driver}`);
  }
  const source = own.source ?? '';
  if (pool.driver === 'zfs' && !source.startsWith('/')) return checkZfs(deps, pool, own);
  if (source === '') return checkOwnPlace(deps, pool);
  const kind = await findPathKind(source);
  if (pool.driver === 'dir' || kind === 'directory') return checkDirectory(pool, source, kind);
  if (kind === null) {
    if (pool.driver === 'zfs') return { text: `will be made on the new file ${source}` };
    throw badRequest(`source "${source}" doesn't exist`);
  }
  const content = await findContent(deps.exec, source);
  if (content !== null && !(pool.driver === 'btrfs' && content === 'btrfs')) {
    throw badRequest(`source "${source}" isn't empty: it holds ${content}`);
  }
  return { text: `will be made on ${source}` };
}

async function checkOwnPlace(deps: PreflightDeps, pool: Pool): Promise<Finding> {
  const layout = createLayout(deps.dataDir, pool.name);
  if (pool.driver === 'dir') {
    const kind = await findPathKind(layout.mount);
    return kind === null ? { text: `will be made in ${layout.mount}` } : checkDirectory(pool, layout.mount, kind);
  }
  const there = (await findPathKind(layout.disk)) !== null;
  return { text: there ? `${layout.disk} is kept and used` : `will be made on the new file ${layout.disk}` };
}

async function checkDirectory(pool: Pool, path: string, kind: string | null): Promise<Finding> {
  if (kind !== 'directory') throw badRequest(`source path "${path}" doesn't exist`);
  const content = (await listDirectory(path)).filter((name) => name !== 'lost+found');
  if (content.length === 0) return { text: `will use the directory ${path}` };
  if (!(await isClaimed(path, pool.name))) throw badRequest(`source path "${path}" isn't empty`);
  return { text: `${path} is kept and used` };
}

/** A zpool of the right name that nobody uses is adopted: the pool is told that it is the source. */
async function checkZfs(deps: PreflightDeps, pool: Pool, own: Record<string, string>): Promise<Finding> {
  const asked = own.source || own['zfs.pool_name'];
  const root = asked || pool.name;
  const { exists, owner, children } = await readDataset(deps.exec, root);
  if (!exists) {
    if (own.source && !root.includes('/')) throw badRequest(`ZFS pool "${root}" doesn't exist`);
    return { text: own.source ? `will be the new dataset ${root}` : `will be the new ZFS pool ${root}` };
  }
  const ours = owner?.split(':').slice(1).join(':') === `${pool.name}:${root}`;
  if (ours) return { text: `ZFS pool ${root} is kept and used` };
  if (owner !== null) throw badRequest(`ZFS pool "${root}" belongs to another storage pool`);
  if (children > 0) throw badRequest(`ZFS pool "${root}" is on this host and isn't empty`);
  const adopt = { entity: 'storage-pool', name: pool.name, key: 'source', value: root } as const;
  const size = { ...adopt, key: 'size', value: '' };
  return { text: `the empty ZFS pool ${root} is kept and used`, adopt: own.source ? [] : [adopt, size] };
}

async function readDataset(exec: Exec, root: string) {
  const args = ['list', '-H', '-r', '-o', 'name,longshore:pool', '-t', 'filesystem,volume', root];
  try {
    const { stdout } = await exec('zfs', args);
    const [first = '', ...rest] = stdout.trim().split('\n');
    const owner = first.split('\t')[1] ?? '-';
    return { exists: true, owner: owner === '-' ? null : owner, children: rest.length };
  } catch (error) {
    if (error instanceof ExecError && /dataset does not exist|no such pool|cannot open/.test(error.stderr)) {
      return { exists: false, owner: null, children: 0 };
    }
    if (error instanceof AppError) throw error;
    throw badRequest(reasonOf(error), error);
  }
}
