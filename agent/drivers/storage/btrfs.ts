/** btrfs: an image is a read-only subvolume, an instance a snapshot of it. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { PoolSpec } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import { snapshotSubvolume } from '../../system/btrfs.ts';
import { ExecError } from '../../system/exec.ts';
import { findPathKind, listDirectory } from '../../system/fs.ts';
import { listNested, parseReferencedBytes, parseSubvolumes } from './btrfs-parse.ts';
import { createBtrfsPool } from './btrfs-pool.ts';
import type { StorageDriver } from './driver.ts';
import { createLayout, type StorageDeps } from './layout.ts';
import { carryOutput, feedInput } from './pipes.ts';
import { createTreeDriver, type TreeFileSystem } from './tree.ts';

const TIMEOUT_MS = 10 * 60_000;
/** The inode number of every subvolume's root; a plain directory never has it. */
const SUBVOLUME_INODE = 256;

const isWithoutQuota = (error: unknown) => error instanceof ExecError && /quotas? not enabled/.test(error.stderr);

/** The driver for `pool`. Throws `bad_request` for keys or names it cannot use. */
export function createBtrfsDriver(deps: StorageDeps, pool: PoolSpec): StorageDriver {
  const layout = createLayout(deps.dataDir, pool.name);
  const btrfs = async (...args: string[]) => (await deps.exec('btrfs', args, { timeoutMs: TIMEOUT_MS })).stdout;
  const readId = async (path: string) => Number((await btrfs('inspect-internal', 'rootid', path)).trim());

  async function removeQgroup(id: number): Promise<void> {
    // Without quotas there is none, and a kernel that removes it with the subvolume has done so.
    await btrfs('qgroup', 'destroy', `0/${id}`, layout.mount).catch(() => {});
  }

  /** Deletes by id what a container has made below: no path of its making is ever walked. */
  async function removeNested(id: number): Promise<void> {
    const subvolumes = parseSubvolumes(await btrfs('subvolume', 'list', '-p', layout.mount));
    const nested = listNested(subvolumes, id);
    // A read-only subvolume keeps those below it. The path comes from the file system's own tree, so nothing in it is a link.
    for (const parent of nested.filter((inner) => subvolumes.some((subvolume) => subvolume.parent === inner))) {
      const path = (await btrfs('inspect-internal', 'subvolid-resolve', String(parent), layout.mount)).trimEnd();
      // In a directory of a larger file system the path does not lead there; if it mattered, the deletion will say so.
      await btrfs('property', 'set', '-ts', join(layout.mount, path), 'ro', 'false').catch(() => {});
    }
    for (const inner of nested) {
      await btrfs('subvolume', 'delete', '--subvolid', String(inner), layout.mount);
      await removeQgroup(inner);
    }
  }

  const trees: TreeFileSystem = {
    quota: true,
    async make(path) {
      await btrfs('subvolume', 'create', '--', path);
    },
    async copy(from, to) {
      if (!(await snapshotSubvolume(from, to))) await btrfs('subvolume', 'snapshot', '--', from, to);
    },
    async remove(path) {
      const kind = await findPathKind(path);
      if (kind === null) return;
      if (kind !== 'directory' || (await stat(path)).ino !== SUBVOLUME_INODE) {
        await deps.exec('rm', ['--recursive', '--force', '--one-file-system', '--', path], { timeoutMs: TIMEOUT_MS });
        return;
      }
      const id = await readId(path);
      try {
        await btrfs('subvolume', 'delete', '--', path);
      } catch {
        await btrfs('property', 'set', '-ts', path, 'ro', 'false');
        await removeNested(id);
        await btrfs('subvolume', 'delete', '--', path);
      }
      await removeQgroup(id);
    },
    async seal(path) {
      await btrfs('filesystem', 'sync', path);
      await btrfs('property', 'set', '-ts', path, 'ro', 'true');
    },
    async usage(path) {
      try {
        return parseReferencedBytes(await btrfs('qgroup', 'show', '-f', '--raw', path), await readId(path)) ?? 0;
      } catch (error) {
        if (isWithoutQuota(error)) return 0;
        throw error;
      }
    },
    async send(path, scratch, carry) {
      await trees.remove(scratch);
      try {
        await btrfs('subvolume', 'snapshot', '-r', '--', path, scratch);
        await carryOutput('btrfs', ['send', '--quiet', scratch], carry);
      } finally {
        await trees.remove(scratch);
      }
    },
    async receive(path, scratch, content) {
      await trees.remove(scratch);
      try {
        // A subvolume again, so that what is half received below it goes with it.
        await btrfs('subvolume', 'create', '--', scratch);
        await feedInput('btrfs', ['receive', scratch], content);
        const [received] = await listDirectory(scratch);
        if (received === undefined) throw failed('The stream holds no volume');
        // A snapshot is writable, and no copy of anything to btrfs.
        await trees.copy(join(scratch, received), path);
      } finally {
        await trees.remove(scratch);
      }
    },
    async setQuota(path, sizeBytes) {
      const limit = () => btrfs('qgroup', 'limit', sizeBytes === null ? 'none' : String(sizeBytes), path);
      try {
        await limit();
      } catch (error) {
        if (!isWithoutQuota(error)) throw error;
        if (sizeBytes === null) return;
        await btrfs('quota', 'enable', layout.mount);
        await limit();
      }
    },
  };
  return createTreeDriver(pool, layout, createBtrfsPool(deps, pool, layout), trees);
}
