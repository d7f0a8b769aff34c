/**
 * The id map of unprivileged containers: one range for all of them, as LXD's default. On disk ids stay 0-based, the root
 * is mounted with the map.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { badRequest, failed } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
import { readProc } from '../../system/proc.ts';
import type { InstanceRoot, InstanceSetup } from './driver.ts';

/** First host id, and how many: the range that Debian and LXD use for root. */
export const IDMAP_BASE = 100000;
export const IDMAP_SIZE = 65536;
/** What the kernel shows for an owner without a mapping. */
const OVERFLOW_ID = 65534;

/** A container is unprivileged unless it asks not to be, or its storage cannot mount with an id map. */
export const isPrivileged = (setup: InstanceSetup): boolean =>
  !setup.idmap || isTrue(setup.spec.expandedConfig['security.privileged']);

/** True when a line of /etc/subuid or /etc/subgid gives root the whole range. */
export function grantsRange(text: string): boolean {
  return text.split('\n').some((line) => {
    const [owner, start, count] = line.trim().split(':');
    if (owner !== 'root' && owner !== '0') return false;
    return Number(start) <= IDMAP_BASE && Number(start) + Number(count) >= IDMAP_BASE + IDMAP_SIZE;
  });
}

/**
 * liblxc uses newuidmap wherever it is installed, even as root, and that obeys /etc/subuid and /etc/subgid. Throws `failed`
 * with the line to add when they do not have the range.
 */
export function checkSubordinateIds(searchPath: string): void {
  const installed = searchPath.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, 'newuidmap'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!installed) return;
  for (const file of ['/etc/subuid', '/etc/subgid']) {
    if (existsSync(file) && grantsRange(readFileSync(file, 'utf8'))) continue;
    throw failed(`${file} has no range for unprivileged containers: add the line "root:${IDMAP_BASE}:${IDMAP_SIZE}"`);
  }
}

type Owners = Omit<InstanceRoot, 'fd' | 'close'>;

function checked(id: number): number {
  if (Number.isInteger(id) && id >= 0 && id < IDMAP_SIZE) return id;
  throw badRequest(`Owner ${id} is outside of the instance's id map`);
}

/** Owners on a stopped instance's disk: the container's own. */
export function plainOwners(setup: InstanceSetup): Owners {
  const toDisk = isPrivileged(setup) ? (id: number) => id : checked;
  const fromDisk = (id: number) => id;
  return { toHostUid: toDisk, toHostGid: toDisk, fromHostUid: fromDisk, fromHostGid: fromDisk };
}

interface IdRange {
  inside: number;
  outside: number;
  count: number;
}

/** Parses `/proc/<pid>/uid_map`. */
export const parseIdMap = (text: string): IdRange[] =>
  text.split('\n').flatMap((line) => {
    const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
    return inside === undefined || outside === undefined || count === undefined ? [] : [{ inside, outside, count }];
  });

function inward(map: readonly IdRange[], id: number): number {
  const range = map.find(({ inside, count }) => Number.isInteger(id) && id >= inside && id < inside + count);
  if (range === undefined) throw badRequest(`Owner ${id} is outside of the instance's id map`);
  return id - range.inside + range.outside;
}

function outward(map: readonly IdRange[], id: number): number {
  const range = map.find(({ outside, count }) => id >= outside && id < outside + count);
  return range === undefined ? OVERFLOW_ID : id - range.outside + range.inside;
}

/**
 * Owners as seen through the mounts of a running instance, by the map its init really has: the config may say something
 * else since the start. Throws `bad_request` when it is gone.
 */
export function runningOwners(init: number): Owners {
  const [uids, gids] = ['uid_map', 'gid_map'].map((file) => parseIdMap(readProc(init, file) ?? ''));
  if (!uids?.length || !gids?.length) throw badRequest('Instance is not running');
  return {
    toHostUid: (id) => inward(uids, id),
    toHostGid: (id) => inward(gids, id),
    fromHostUid: (id) => outward(uids, id),
    fromHostGid: (id) => outward(gids, id),
  };
}

/** Whether it runs without an id map of its own. */
export const runsPrivileged = (init: number): boolean =>
  parseIdMap(readProc(init, 'uid_map') ?? '').some(({ inside, outside }) => inside === 0 && outside === 0);
