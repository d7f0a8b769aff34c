import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createStorageDriver } from '#agent/drivers/storage/index.ts';
import { createZfsTool, type ZfsTool } from '#agent/drivers/storage/zfs-tool.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { newFingerprint, newPoolName, storageContract, unpackSmall } from './contract.ts';
import { hasZfs, runInNamespace, startZfs, stopZfs } from './zfs-host.ts';

/** The zpool of the contract's pool has the pool's name. */
async function poolOf(dataDir: string): Promise<string> {
  return (await readdir(join(dataDir, 'storage-pools')))[0] ?? '';
}

if (!hasZfs) {
  it('keeps the storage contract on zfs-fuse', { timeout: 120_000 }, async () => {
    const { code, report } = await runInNamespace('test/agent/drivers/storage/zfs.root.test.ts');
    if (code !== 0) console.log(report);
    expect(code).toBe(0);
  });
} else {
  beforeAll(startZfs);
  afterAll(stopZfs);

  storageContract({
    driver: 'zfs',
    config: { size: '1GiB' },
    quota: true,
    powerCut: async (_driver, dataDir) => {
      const pool = await poolOf(dataDir);
      await exec('zpool', ['export', pool]);
    },
    halfMadeImage: async (dataDir, fingerprint) => {
      const pool = await poolOf(dataDir);
      const path = join(dataDir, 'storage-pools', pool, 'images', fingerprint);
      await mkdir(path, { recursive: true });
      await exec('zfs', [
        'create',
        '-o',
        `mountpoint=${path}`,
        '-o',
        'canmount=noauto',
        `${pool}/images/${fingerprint}`,
      ]);
      await exec('zfs', ['mount', `${pool}/images/${fingerprint}`]);
      await writeFile(join(path, 'half'), '');
    },
  });

  describe('an existing ZFS pool', () => {
    const zpool = newPoolName();
    let dataDir = '';
    const open = (config: Record<string, string>, name = 'adopter') =>
      createStorageDriver({ exec, dataDir, log: silentLog }, { name, driver: 'zfs', config });
    const datasets = async () => (await exec('zfs', ['list', '-H', '-o', 'name', '-r', zpool])).stdout.split('\n');

    beforeEach(async () => {
      dataDir = await mkdtemp(join(tmpdir(), 'longshore-storage-'));
      await writeFile(join(dataDir, 'disk.img'), '');
      await exec('truncate', ['--size=512M', join(dataDir, 'disk.img')]);
      await exec('zpool', ['create', '-m', 'none', zpool, join(dataDir, 'disk.img')]);
    });
    afterEach(async () => {
      await exec('zpool', ['destroy', zpool]);
      await rm(dataDir, { recursive: true });
    });

    it('is adopted when it is empty, and left empty', async () => {
      const driver = open({ source: zpool });
      const config = await driver.createPool();
      expect(config).toEqual({ source: zpool, 'zfs.pool_name': zpool, 'volatile.initial_source': zpool });
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      await driver.createInstanceVolume('one', fingerprint);
      const origin = await exec('zfs', ['get', '-H', '-o', 'value', 'origin', `${zpool}/containers/one`]);
      expect(origin.stdout).toBe(`${zpool}/images/${fingerprint}@readonly`);
      await expect(open({ source: zpool }, 'second').createPool()).rejects.toMatchObject({ code: 'conflict' });
      await driver.deleteInstanceVolume('one');
      await driver.deletePool();
      await driver.deletePool();
      expect(await datasets()).toEqual([zpool]);
    });

    it('is refused when it holds something', async () => {
      await exec('zfs', ['create', '-o', 'mountpoint=none', `${zpool}/precious`]);
      await expect(open({ source: zpool }).createPool()).rejects.toMatchObject({
        code: 'bad_request',
        message: "Provided ZFS pool (or dataset) isn't empty",
      });
      const driver = open({ source: `${zpool}/made` });
      await driver.createPool();
      await driver.deletePool();
      expect(await datasets()).toEqual([zpool, `${zpool}/precious`]);
    });

    it('is not taken over by a pool of the same name on a disk of its own', async () => {
      await expect(open({ 'zfs.pool_name': zpool }).createPool()).rejects.toMatchObject({ code: 'conflict' });
      await expect(open({ source: join(dataDir, 'disk.img') }).createPool()).rejects.toMatchObject({
        code: 'bad_request',
      });
    });

    it('mounts datasets side by side without hanging the daemon', async () => {
      // One tool each: the program of an agent that was killed goes on beside those of the next one.
      const tools = Array.from({ length: 8 }, () => createZfsTool(exec));
      const remount = async (tool: ZfsTool, index: number) => {
        const [dataset, path] = [`${zpool}/volume-${index}`, join(dataDir, `volume-${index}`)];
        await tool.zfs('create', '-o', `mountpoint=${path}`, dataset);
        for (let round = 0; round < 40; round++) {
          await tool.zfsWhenIdle('unmount', dataset);
          await tool.zfsWhenIdle('mount', dataset);
        }
        expect(await readdir(path)).toEqual([]);
      };
      await Promise.all(tools.map(remount));
    });

    it('drops a deleted image with its last instance', async () => {
      const driver = open({ source: zpool });
      await driver.createPool();
      const fingerprint = newFingerprint();
      await driver.ensureImage(fingerprint, unpackSmall);
      await driver.createInstanceVolume('one', fingerprint);
      await driver.createInstanceVolume('two', fingerprint);
      await driver.deleteImage(fingerprint);
      await driver.deleteInstanceVolume('one');
      expect(await datasets()).toContain(`${zpool}/images/${fingerprint}`);
      await driver.deleteInstanceVolume('two');
      expect(await datasets()).not.toContain(`${zpool}/images/${fingerprint}`);
      await driver.deletePool();
    });
  });
}
