/** Plain directories: a copy per instance, sharing its data where the file system can (`--reflink=auto`). No limits. */
import { mkdir } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import type { PoolSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { findPathKind } from '../../system/fs.ts';
import { findMount } from '../../system/mounts.ts';
import { effectiveConfig, NOT_A_LOOP } from './disk-source.ts';
import type { StorageDriver } from './driver.ts';
import { createLayout, makePassage, type PoolLayout, type StorageDeps } from './layout.ts';
import { carryOutput, feedInput } from './pipes.ts';
import { claim, disclaim, isClaimed, mountRoot, type RootedPool, unmountRoot } from './rooted-pool.ts';
import { createTreeDriver, type TreeFileSystem } from './tree.ts';

/** Copying or removing a large tree on a slow disk. */
const TIMEOUT_MS = 60 * 60_000;
/** Owners are the container's own on every host; one file system, as nothing mounted below belongs to the volume. */
const TAR_OPTIONS = [
  '--numeric-owner',
  '--xattrs',
  '--xattrs-include=*',
  '--acls',
  '--sparse',
  '--one-file-system',
  '--file=-',
];

function createDirPool(deps: StorageDeps, pool: PoolSpec, layout: PoolLayout): RootedPool {
  const source = pool.config.source || layout.mount;
  if (!isAbsolute(source) || resolve(source) !== source) throw badRequest(`Source path "${source}" must be absolute`);
  const inPlace = source === layout.mount;

  const mount = async () => {
    if (!inPlace) await mountRoot(deps.exec, layout, ['--bind', '-o', 'nodev', '--', source]);
  };
  const isOpen = async () =>
    (inPlace || (await findMount(layout.mount)) !== undefined) && (await isClaimed(layout.mount, pool.name));

  return {
    isOpen,
    async create() {
      if (inPlace) await makePassage(source);
      if ((await findPathKind(source)) !== 'directory') throw badRequest(`Source path "${source}" doesn't exist`);
      await claim(source, pool.name, () => badRequest(`Source path "${source}" isn't empty`));
      await mount();
      return effectiveConfig(pool, { source });
    },
    async open() {
      if (!(await isClaimed(source, pool.name))) throw badRequest(`Source path "${source}" is not the storage pool's`);
      await mount();
    },
    async grow() {
      throw badRequest(NOT_A_LOOP);
    },
    async delete() {
      if (!inPlace) await unmountRoot(deps.exec, layout);
      if (await isClaimed(source, pool.name)) await disclaim(source);
      if (inPlace) await unmountRoot(deps.exec, layout);
    },
  };
}

/** The driver for `pool`. Throws `bad_request` for keys or names it cannot use. */
export function createDirDriver(deps: StorageDeps, pool: PoolSpec): StorageDriver {
  const layout = createLayout(deps.dataDir, pool.name);
  const run = (file: string, ...args: string[]) => deps.exec(file, args, { timeoutMs: TIMEOUT_MS });
  const trees: TreeFileSystem = {
    quota: false,
    make: (path) => mkdir(path, { mode: 0o700 }),
    async copy(from, to) {
      await run('cp', '--archive', '--reflink=auto', '--no-target-directory', '--', from, to);
    },
    async remove(path) {
      // One file system: a forgotten bind mount below is not emptied.
      if ((await findPathKind(path)) !== null)
        await run('rm', '--recursive', '--force', '--one-file-system', '--', path);
    },
    async seal(path) {
      await run('sync', '--file-system', path);
    },
    usage: async () => 0,
    send: (path, _scratch, carry) => carryOutput('tar', ['--create', ...TAR_OPTIONS, '--directory', path, '.'], carry),
    async receive(path, _scratch, content) {
      await mkdir(path, { mode: 0o700 });
      await feedInput('tar', ['--extract', '--preserve-permissions', ...TAR_OPTIONS, '--directory', path], content);
    },
    async setQuota(_path, sizeBytes) {
      if (sizeBytes !== null) throw badRequest("The backing filesystem doesn't support quotas");
    },
  };
  return createTreeDriver(pool, layout, createDirPool(deps, pool, layout), trees);
}
