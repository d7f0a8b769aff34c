import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createStorageDriver } from '#agent/drivers/storage/index.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { newFingerprint, newPoolName, storageContract, unpackSmall } from './contract.ts';

async function halfMadeImage(dataDir: string, fingerprint: string): Promise<void> {
  const [pool] = await readdir(join(dataDir, 'storage-pools'));
  await mkdir(join(dataDir, 'storage-pools', pool ?? '', 'images', `.new-${fingerprint}`, 'rootfs'), {
    recursive: true,
  });
}

storageContract({ driver: 'dir', config: {}, quota: false, powerCut: async () => {}, halfMadeImage });

describe('a directory given as source', () => {
  let dataDir = '';
  const name = newPoolName();
  const open = (source: string) =>
    createStorageDriver({ exec, dataDir, log: silentLog }, { name, driver: 'dir', config: { source } });

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'longshore-storage-'));
  });
  afterEach(() => rm(dataDir, { recursive: true }));

  it('is used when it is empty, and given back empty', async () => {
    const source = join(dataDir, 'given');
    await mkdir(source);
    const driver = open(source);
    expect(await driver.createPool()).toEqual({ source, 'volatile.initial_source': source });
    await driver.ensureImage(newFingerprint(), unpackSmall);
    await driver.createPool();
    await driver.deletePool();
    await driver.deletePool();
    expect(await readdir(source)).toEqual([]);
    expect(await readdir(join(dataDir, 'storage-pools'))).toEqual([]);
  });

  it('is refused when it holds something', async () => {
    const source = join(dataDir, 'full');
    await mkdir(source);
    await writeFile(join(source, 'precious'), '');
    await expect(open(source).createPool()).rejects.toMatchObject({ code: 'bad_request' });
    expect(await readdir(source)).toEqual(['precious']);
  });

  it('is refused when it does not exist', async () => {
    await expect(open(join(dataDir, 'nowhere')).createPool()).rejects.toMatchObject({ code: 'bad_request' });
  });
});
