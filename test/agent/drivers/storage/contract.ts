/** What every storage driver guarantees, run against the real tools. */
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StorageDriver } from '#agent/drivers/storage/driver.ts';
import { createStorageDriver } from '#agent/drivers/storage/index.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { findPathKind } from '#agent/system/fs.ts';
import { listMounts } from '#agent/system/mounts.ts';
import type { PoolSpec } from '#protocol/commands.ts';
import { customVolumeContract } from './contract-custom.ts';

export interface ContractOptions {
  driver: PoolSpec['driver'];
  config: Record<string, string>;
  quota: boolean;
  /** Takes the pool out of the kernel, as a power cut does. */
  powerCut(driver: StorageDriver, dataDir: string): Promise<void>;
  /** Makes an image that a crash interrupted half-way. */
  halfMadeImage(dataDir: string, fingerprint: string): Promise<void>;
}

let serial = 0;
/** A fingerprint no other test uses. */
export const newFingerprint = () => (++serial).toString(16).padStart(64, '0');
/** A pool name that no other test of this machine uses. */
export const newPoolName = () => `lt${process.pid}x${++serial}`;

/** Fills a directory as an image would. */
export async function unpackSmall(directory: string): Promise<void> {
  await mkdir(join(directory, 'rootfs/etc'), { recursive: true });
  await chmod(join(directory, 'rootfs'), 0o755);
  await writeFile(join(directory, 'rootfs/etc/hostname'), 'small\n');
  await symlink('/etc/passwd', join(directory, 'rootfs/etc/link'));
  await writeFile(join(directory, 'metadata.yaml'), 'architecture: x86_64\n');
}

const read = (volume: string) => readFile(join(volume, 'rootfs/etc/hostname'), 'utf8');

/** Declares the suite. */
export function storageContract(options: ContractOptions): void {
  describe(`${options.driver} storage`, () => {
    let dataDir = '';
    let driver: StorageDriver;
    const name = newPoolName();
    const deps = () => ({ exec, dataDir, log: silentLog });
    const reopen = (config: Record<string, string> = options.config) =>
      createStorageDriver(deps(), { name, driver: options.driver, config });

    beforeAll(async () => {
      dataDir = await mkdtemp(join(tmpdir(), 'longshore-storage-'));
      driver = reopen();
      await driver.createPool();
    });

    afterAll(async () => {
      for (const volume of await driver.listInstanceVolumes()) await driver.deleteInstanceVolume(volume);
      await driver.deletePool();
      const left = (await listMounts()).filter((mount) => mount.path.startsWith(dataDir));
      expect(left).toEqual([]);
      await rm(dataDir, { recursive: true });
    });

    it('answers the same keys when it is asked to make the pool again', async () => {
      const config = await driver.createPool();
      expect(await driver.createPool()).toEqual(config);
      expect(config.source).toBeTruthy();
      expect(await reopen(config).createPool()).toMatchObject({ source: config.source });
    });

    customVolumeContract(() => driver, { quota: options.quota, powerCut: () => options.powerCut(driver, dataDir) });

    it('unpacks an image once under parallel calls', async () => {
      const fingerprint = newFingerprint();
      let unpacked = 0;
      await Promise.all(
        Array.from({ length: 8 }, () =>
          driver.ensureImage(fingerprint, async (directory) => {
            unpacked++;
            await unpackSmall(directory);
          }),
        ),
      );
      expect(unpacked).toBe(1);
      expect(await driver.hasImage(fingerprint)).toBe(true);
    });

    it('keeps nothing of an image that failed to unpack', async () => {
      const fingerprint = newFingerprint();
      const failing = driver.ensureImage(fingerprint, async (directory) => {
        await unpackSmall(directory);
        throw new Error('bad archive');
      });
      await expect(failing).rejects.toThrow('bad archive');
      expect(await driver.hasImage(fingerprint)).toBe(false);
      await driver.ensureImage(fingerprint, unpackSmall);
      expect(await driver.hasImage(fingerprint)).toBe(true);
    });

    it('redoes an image that a crash left half made', async () => {
      const fingerprint = newFingerprint();
      await options.halfMadeImage(dataDir, fingerprint);
      expect(await driver.hasImage(fingerprint)).toBe(false);
      await driver.ensureImage(fingerprint, unpackSmall);
      expect(await read(await driver.createInstanceVolume(`redone${serial}`, fingerprint))).toBe('small\n');
    });

    it('gives each instance its own copy of the image', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      const [one, two] = await Promise.all([
        driver.createInstanceVolume('one', fingerprint),
        driver.createInstanceVolume('two', fingerprint),
      ]);
      await writeFile(join(one, 'rootfs/etc/hostname'), 'one\n');
      expect(await read(two)).toBe('small\n');
      expect(await driver.createInstanceVolume('one', fingerprint)).toBe(one);
      expect(await read(one)).toBe('one\n');
      expect(await driver.listInstanceVolumes()).toEqual(expect.arrayContaining(['one', 'two']));
    });

    it('refuses a volume that is there but made of another image', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      await driver.createInstanceVolume('taken', fingerprint);
      await expect(driver.createInstanceVolume('taken', null)).rejects.toMatchObject({ code: 'conflict' });
      await expect(driver.createInstanceVolume('orphan', newFingerprint())).rejects.toMatchObject({
        code: 'not_found',
      });
    });

    it('makes an empty volume with a root directory', async () => {
      const path = await driver.createInstanceVolume('empty', null);
      expect((await stat(join(path, 'rootfs'))).isDirectory()).toBe(true);
      expect(await driver.createInstanceVolume('empty', null)).toBe(path);
    });

    it('closes volumes to the users of the host', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      const volume = await stat(await driver.createInstanceVolume('closed', fingerprint));
      expect(volume.mode & 0o077).toBe(0);
    });

    // A plain directory has the mount flags of the host's own file system.
    it.runIf(options.driver !== 'dir')('makes device nodes in a volume useless', async () => {
      const path = await driver.createInstanceVolume('nodes', null);
      await exec('mknod', [join(path, 'rootfs/zero'), 'c', '1', '5']);
      await expect(open(join(path, 'rootfs/zero'))).rejects.toMatchObject({ code: 'EACCES' });
    });

    it('renames a volume, and has done so when asked again', async () => {
      const path = await driver.createInstanceVolume('before', null);
      await writeFile(join(path, 'rootfs/kept'), 'kept');
      await driver.renameInstanceVolume('before', 'after');
      await driver.renameInstanceVolume('before', 'after');
      const renamed = await driver.mountInstanceVolume('after');
      expect(await readFile(join(renamed, 'rootfs/kept'), 'utf8')).toBe('kept');
      await expect(driver.mountInstanceVolume('before')).rejects.toMatchObject({ code: 'not_found' });
      await expect(driver.renameInstanceVolume('nobody', 'nowhere')).rejects.toMatchObject({ code: 'not_found' });
      await driver.createInstanceVolume('other', null);
      await expect(driver.renameInstanceVolume('other', 'after')).rejects.toMatchObject({ code: 'conflict' });
    });

    it('deletes a volume with its directory, and has done so when asked again', async () => {
      const path = await driver.createInstanceVolume('doomed', null);
      await driver.deleteInstanceVolume('doomed');
      await driver.deleteInstanceVolume('doomed');
      expect(await findPathKind(path)).toBeNull();
      expect((await listMounts()).some((mount) => mount.path === path)).toBe(false);
      expect(await driver.listInstanceVolumes()).not.toContain('doomed');
    });

    it('keeps instances whose image was deleted, and takes the image back when it is needed again', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      const path = await driver.createInstanceVolume('survivor', fingerprint);
      await driver.deleteImage(fingerprint);
      await driver.deleteImage(fingerprint);
      expect(await driver.hasImage(fingerprint)).toBe(false);
      expect(await read(path)).toBe('small\n');
      await driver.ensureImage(fingerprint, unpackSmall);
      expect(await driver.hasImage(fingerprint)).toBe(true);
      expect(await driver.createInstanceVolume('survivor', fingerprint)).toBe(path);
      await driver.deleteImage(fingerprint);
      await driver.deleteInstanceVolume('survivor');
      expect(await driver.hasImage(fingerprint)).toBe(false);
    });

    it('leaves the mounts of instances alone when their image is deleted, in use or not', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      const idle = await driver.createInstanceVolume('idle', fingerprint);
      const busy = await open(join(await driver.createInstanceVolume('busy', fingerprint), 'rootfs/etc/hostname'));
      const mounts = async () => (await listMounts()).filter((mount) => mount.path.startsWith(dataDir));
      const before = await mounts();
      await driver.deleteImage(fingerprint);
      expect(await mounts()).toEqual(before);
      expect(await read(idle)).toBe('small\n');
      expect(await busy.readFile('utf8')).toBe('small\n');
      await busy.close();
    });

    it.each(['-rf', '../evil', 'a/b', '..', '.hidden', '', 'a\nb', 'a@b', 'a b'])(
      'refuses %j as the name of a volume',
      async (hostile) => {
        const refusal = { code: 'bad_request' };
        await expect(driver.createInstanceVolume(hostile, null)).rejects.toMatchObject(refusal);
        await expect(driver.deleteInstanceVolume(hostile)).rejects.toMatchObject(refusal);
        await expect(driver.mountInstanceVolume(hostile)).rejects.toMatchObject(refusal);
        await expect(driver.renameInstanceVolume('one', hostile)).rejects.toMatchObject(refusal);
        await expect(driver.ensureImage(hostile, unpackSmall)).rejects.toMatchObject(refusal);
      },
    );

    it.runIf(options.quota)('limits what a volume holds, until the limit is removed', async () => {
      const path = await driver.createInstanceVolume('limited', null);
      const fill = (mebibytes: number) =>
        exec('dd', [
          'if=/dev/urandom',
          `of=${path}/rootfs/data`,
          'bs=1M',
          `count=${mebibytes}`,
          'conv=fsync',
          'status=none',
        ]);
      await driver.setQuota('limited', 20 * 2 ** 20);
      await expect(fill(30)).rejects.toThrow(/No space left|quota exceeded/i);
      // ZFS notices at the end of a transaction group and may be a few blocks late.
      expect(await driver.instanceVolumeUsage('limited')).toBeLessThan(21 * 2 ** 20);
      await rm(join(path, 'rootfs/data'));
      await driver.setQuota('limited', null);
      await fill(30);
    });

    it.runIf(!options.quota)('refuses a limit it cannot enforce, and has none to remove', async () => {
      await driver.createInstanceVolume('unlimited', null);
      await expect(driver.setQuota('unlimited', 2 ** 20)).rejects.toMatchObject({ code: 'bad_request' });
      await driver.setQuota('unlimited', null);
    });

    it('carries a volume to another, with owners, modes, links and holes', async () => {
      const from = await driver.createInstanceVolume('leaving', null);
      await writeFile(join(from, 'rootfs/owned'), 'kept');
      await chown(join(from, 'rootfs/owned'), 1000, 1001);
      await chmod(join(from, 'rootfs/owned'), 0o4751);
      await link(join(from, 'rootfs/owned'), join(from, 'rootfs/again'));
      await symlink('/etc/passwd', join(from, 'rootfs/link'));
      await exec('dd', ['if=/dev/urandom', `of=${from}/rootfs/large`, 'bs=1M', 'count=5', 'status=none']);
      const large = await readFile(join(from, 'rootfs/large'));

      await driver.transfer.send('leaving', async (content) => {
        const parcel: Buffer[] = [];
        for await (const chunk of content) parcel.push(chunk);
        expect(await driver.transfer.receive('arrived', Readable.from(parcel))).toBe(
          await driver.mountInstanceVolume('arrived'),
        );
      });

      const to = await driver.mountInstanceVolume('arrived');
      const owned = await stat(join(to, 'rootfs/owned'));
      expect([owned.uid, owned.gid, owned.mode & 0o7777]).toEqual([1000, 1001, 0o4751]);
      expect((await stat(join(to, 'rootfs/again'))).ino).toBe(owned.ino);
      expect(await readlink(join(to, 'rootfs/link'))).toBe('/etc/passwd');
      expect((await readFile(join(to, 'rootfs/large'))).equals(large)).toBe(true);
      expect((await stat(to)).mode & 0o077).toBe(0);
      // Both live on by themselves.
      await writeFile(join(to, 'rootfs/owned'), 'changed');
      await driver.mountInstanceVolume('leaving');
      expect(await readFile(join(from, 'rootfs/owned'), 'utf8')).toBe('kept');
      await driver.deleteInstanceVolume('leaving');
      expect(await readFile(join(to, 'rootfs/owned'), 'utf8')).toBe('changed');
    });

    it('copies a volume, also one that is in use, and neither needs the other', async () => {
      const from = await driver.createInstanceVolume('model', null);
      await writeFile(join(from, 'rootfs/kept'), 'kept');
      const used = await open(join(from, 'rootfs/kept'));
      const to = await driver.transfer.copy('model', 'copied');
      await used.close();
      expect(await readFile(join(to, 'rootfs/kept'), 'utf8')).toBe('kept');
      await writeFile(join(to, 'rootfs/kept'), 'changed');
      await driver.mountInstanceVolume('model');
      expect(await readFile(join(from, 'rootfs/kept'), 'utf8')).toBe('kept');
      await expect(driver.transfer.copy('model', 'copied')).rejects.toMatchObject({ code: 'conflict' });
      await expect(driver.transfer.copy('nobody', 'nothing')).rejects.toMatchObject({ code: 'not_found' });
      await driver.deleteInstanceVolume('model');
      expect(await readFile(join(to, 'rootfs/kept'), 'utf8')).toBe('changed');
    });

    it('keeps nothing of a volume whose stream breaks off, and the other can be sent again', async () => {
      await driver.createInstanceVolume('staying', null);
      const halves = async (content: Readable) => {
        const parcel: Buffer[] = [];
        for await (const chunk of content) parcel.push(chunk);
        const whole = Buffer.concat(parcel);
        async function* half() {
          yield whole.subarray(0, whole.length / 2);
          throw new Error('cut');
        }
        await driver.transfer.receive('cut', Readable.from(half()));
      };
      for (let turn = 0; turn < 2; turn++) await expect(driver.transfer.send('staying', halves)).rejects.toThrow('cut');
      expect(await driver.listInstanceVolumes()).not.toContain('cut');
      await expect(driver.transfer.receive('rubbish', Readable.from([Buffer.from('no volume')]))).rejects.toThrow();
      expect(await driver.listInstanceVolumes()).not.toContain('rubbish');
      await expect(driver.transfer.receive('staying', Readable.from([]))).rejects.toMatchObject({ code: 'conflict' });
      await expect(driver.transfer.send('nobody', async () => {})).rejects.toMatchObject({ code: 'not_found' });
    });

    it('tells how full the pool is', async () => {
      const usage = await driver.poolUsage();
      expect(usage.totalBytes).toBeGreaterThan(usage.usedBytes);
      expect(usage.usedBytes).toBeGreaterThan(0);
    });

    it('refuses to delete a pool that still has instances', async () => {
      await driver.createInstanceVolume('inhabitant', null);
      await expect(driver.deletePool()).rejects.toMatchObject({ code: 'failed' });
      expect(await driver.listInstanceVolumes()).toContain('inhabitant');
    });

    it('finds everything again after a power cut', async () => {
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      const path = await driver.createInstanceVolume('lasting', fingerprint);
      await writeFile(join(path, 'rootfs/etc/hostname'), 'lasting\n');
      const config = await driver.createPool();
      await options.powerCut(driver, dataDir);

      driver = reopen(config);
      await driver.openPool();
      await driver.openPool();
      expect(await read(await driver.mountInstanceVolume('lasting'))).toBe('lasting\n');
      expect(await driver.hasImage(fingerprint)).toBe(true);
    });
  });
}
