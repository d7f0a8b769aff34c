/** Where a pool is on this host, and which names may become paths, datasets and arguments. */
import { chmod, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { badRequest } from '#protocol/errors.ts';
import { checkPoolName, isFingerprint } from '#protocol/names.ts';
import type { Log } from '../../log.ts';
import type { Exec } from '../../system/exec.ts';
import { IDMAP_BASE } from '../instance/idmap.ts';

/** What every storage driver works with. */
export interface StorageDeps {
  exec: Exec;
  dataDir: string;
  log: Log;
}

export interface PoolLayout {
  /** Mount point of the pool: `<dataDir>/storage-pools/<pool>`. */
  mount: string;
  containers: string;
  images: string;
  /** Volumes of their own, which instances mount as disks. */
  custom: string;
  /** Records of complete copies and what they were made from; only drivers without snapshots' own memory use it. */
  origins: string;
  /** Backing file of a pool that was given no source: `<dataDir>/disks/<pool>.img`. */
  disk: string;
  /** Path of an instance's volume; throws `bad_request` for a name that could be an option or leave the directory. */
  instance(name: string): string;
  /** Path of a custom volume; throws as `instance` does. */
  volume(name: string): string;
  /** Path of an image's volume; throws `bad_request` for anything but a fingerprint. */
  image(fingerprint: string): string;
}

/** Project and instance name, joined; no dot, dash or slash in front. */
const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,189}$/;

/** Throws `bad_request` unless `name` can be a dataset, a directory and an argument. */
export function checkVolume(name: string): string {
  if (!VOLUME_NAME.test(name)) throw badRequest(`Invalid storage volume name ${JSON.stringify(name.slice(0, 200))}`);
  return name;
}

/**
 * Where a custom volume's content is below its own directory, which is closed as an instance's is: owners in it are those
 * of containers.
 */
export const CONTENT = 'data';

/** Throws `bad_request` unless `fingerprint` is one. */
export function checkImage(fingerprint: string): string {
  if (!isFingerprint(fingerprint)) throw badRequest('Invalid image fingerprint');
  return fingerprint;
}

/** The paths of pool `name`; throws `bad_request` for a hostile name. */
export function createLayout(dataDir: string, name: string): PoolLayout {
  const refusal = checkPoolName(name);
  if (refusal !== null) throw badRequest(refusal);
  const mount = join(dataDir, 'storage-pools', name);
  return {
    mount,
    containers: join(mount, 'containers'),
    images: join(mount, 'images'),
    custom: join(mount, 'custom'),
    origins: join(mount, 'origins'),
    disk: join(dataDir, 'disks', `${name}.img`),
    instance: (volume) => join(mount, 'containers', checkVolume(volume)),
    volume: (volume) => join(mount, 'custom', checkVolume(volume)),
    image: (fingerprint) => join(mount, 'images', checkImage(fingerprint)),
  };
}

/** Makes a directory that can be passed but not listed by others. */
export async function makePassage(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o711 });
}

/**
 * Closes a volume's directory to everybody but the host's root and the containers' root, who has to pass to its own root file
 * system. Owners below are the container's (0-based): a host user who got in could run its setuid programs as real root.
 */
export async function closeVolume(path: string): Promise<void> {
  await chown(path, IDMAP_BASE, 0);
  await chmod(path, 0o100);
}
