/**
 * The id map of unprivileged containers: one range for all of them, as LXD's default. On disk ids stay 0-based, the root
 * is mounted with the map.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { badRequest, failed } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
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

/** Owners on a stopped instance's disk, and in every privileged one: the container's own. */
export function plainOwners(setup: InstanceSetup): Owners {
  const inward = isPrivileged(setup) ? (id: number) => id : checked;
  const outward = (id: number) => id;
  return { toHostUid: inward, toHostGid: inward, fromHostUid: outward, fromHostGid: outward };
}

/** Owners as seen through the mounts of a running instance. */
export function runningOwners(setup: InstanceSetup): Owners {
  if (isPrivileged(setup)) return plainOwners(setup);
  const inward = (id: number) => checked(id) + IDMAP_BASE;
  const outward = (id: number) => (id >= IDMAP_BASE && id < IDMAP_BASE + IDMAP_SIZE ? id - IDMAP_BASE : OVERFLOW_ID);
  return { toHostUid: inward, toHostGid: inward, fromHostUid: outward, fromHostGid: outward };
}
