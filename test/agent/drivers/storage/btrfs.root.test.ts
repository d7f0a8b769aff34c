import { mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorageDriver } from '#agent/drivers/storage/index.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { findPathKind } from '#agent/system/fs.ts';
import { newPoolName, storageContract } from './contract.ts';

async function halfMadeImage(dataDir: string, fingerprint: string): Promise<void> {
  const [pool] = await readdir(join(dataDir, 'storage-pools'));
  const path = join(dataDir, 'storage-pools', pool ?? '', 'images', `.new-${fingerprint}`);
  await exec('btrfs', ['subvolume', 'create', path]);
  await mkdir(join(path, 'rootfs'));
}

storageContract({
  driver: 'btrfs',
  config: { size: '1GiB' },
  quota: true,
  powerCut: async (_driver, dataDir) => {
    for (const pool of await readdir(join(dataDir, 'storage-pools'))) {
      await exec('umount', [join(dataDir, 'storage-pools', pool)]);
    }
  },
  halfMadeImage,
});

describe('btrfs', () => {
  let dataDir = '';
  const name = newPoolName();
  const open = (config: Record<string, string>, pool = name) =>
    createStorageDriver({ exec, dataDir, log: silentLog }, { name: pool, driver: 'btrfs', config });

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'longshore-storage-'));
  });
  afterEach(() => rm(dataDir, { recursive: true }));

  it('deletes what a container has nested in its volume, and nothing that it points to', async () => {
    const driver = open({ size: '512MiB' });
    await driver.createPool();
    const path = await driver.createInstanceVolume('nested', null);
    const neighbour = await driver.createInstanceVolume('neighbour', null);
    await exec('btrfs', ['subvolume', 'create', join(path, 'rootfs/inner')]);
    await exec('btrfs', ['subvolume', 'create', join(path, 'rootfs/inner/a b')]);
    await exec('btrfs', ['property', 'set', '-ts', join(path, 'rootfs/inner'), 'ro', 'true']);
    await symlink(neighbour, join(path, 'rootfs/link'));
    await driver.deleteInstanceVolume('nested');
    expect(await driver.listInstanceVolumes()).toEqual(['neighbour']);
    expect(await findPathKind(join(neighbour, 'rootfs'))).toBe('directory');
    await driver.deleteInstanceVolume('neighbour');
    await driver.deletePool();
    await driver.deletePool();
    expect(await readdir(join(dataDir, 'disks'))).toEqual([]);
  });

  it('formats a blank block device, finds it by its UUID, and refuses one that holds something', async () => {
    const image = join(dataDir, 'disk.img');
    await writeFile(image, '');
    await truncate(image, 512 * 2 ** 20);
    const device = (await exec('losetup', ['--find', '--show', image])).stdout.trim();
    try {
      const driver = open({ source: device });
      const config = await driver.createPool();
      expect(config['volatile.initial_source']).toBe(device);
      expect(config.source).toMatch(/^[0-9a-f-]{36}$/);
      await exec('umount', [join(dataDir, 'storage-pools', name)]);
      await open(config).openPool();
      await expect(open({ source: device }, `${name}b`).createPool()).rejects.toMatchObject({ code: 'conflict' });
      await driver.deletePool();
      await exec('wipefs', ['--all', device]);
      await exec('mkfs.ext4', ['-q', device]);
      await expect(driver.createPool()).rejects.toMatchObject({ code: 'bad_request' });
    } finally {
      await exec('losetup', ['--detach', device]);
    }
  });

  it('refuses a directory that is not on btrfs', async () => {
    await expect(open({ source: join(dataDir, 'plain') }).createPool()).rejects.toMatchObject({ code: 'bad_request' });
  });
});
