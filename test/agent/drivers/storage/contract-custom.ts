/** What every storage driver guarantees of custom volumes; declared inside the contract suite of its driver. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it, vi } from 'vitest';
import type { StorageDriver } from '#agent/drivers/storage/driver.ts';
import { exec } from '#agent/system/exec.ts';
import { findPathKind } from '#agent/system/fs.ts';
import { listMounts } from '#agent/system/mounts.ts';

const MEBIBYTE = 2 ** 20;

export function customVolumeContract(
  getDriver: () => StorageDriver,
  options: { quota: boolean; powerCut: () => Promise<void> },
): void {
  it('makes a custom volume once, and keeps what is in it', async () => {
    const { custom } = getDriver();
    await custom.create('default_web');
    const content = await custom.mount('default_web');
    await writeFile(join(content, 'kept'), 'kept');
    await custom.create('default_web');
    expect(await custom.mount('default_web')).toBe(content);
    expect(await readFile(join(content, 'kept'), 'utf8')).toBe('kept');
    expect(await custom.list()).toContain('default_web');
    expect(await getDriver().listInstanceVolumes()).not.toContain('default_web');
    await custom.delete('default_web');
  });

  it('gives a custom volume to root of the container, and closes it to the users of the host', async () => {
    const { custom } = getDriver();
    await custom.create('default_owned');
    const content = await custom.mount('default_owned');
    const { uid, gid, mode } = await stat(content);
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 0, gid: 0, mode: 0o711 });
    expect((await stat(dirname(content))).mode & 0o077).toBe(0);
    await custom.delete('default_owned');
  });

  it('has a custom volume again after a power cut', async () => {
    const { custom } = getDriver();
    await custom.create('default_lasting');
    await writeFile(join(await custom.mount('default_lasting'), 'kept'), 'kept');
    await exec('sync', []);
    await options.powerCut();
    await getDriver().openPool();
    expect(await readFile(join(await custom.mount('default_lasting'), 'kept'), 'utf8')).toBe('kept');
    await custom.delete('default_lasting');
  });

  it('renames a custom volume, and has done so when asked again', async () => {
    const { custom } = getDriver();
    await custom.create('default_before');
    await writeFile(join(await custom.mount('default_before'), 'kept'), 'kept');
    await custom.rename('default_before', 'default_after');
    await custom.rename('default_before', 'default_after');
    expect(await readFile(join(await custom.mount('default_after'), 'kept'), 'utf8')).toBe('kept');
    await expect(custom.mount('default_before')).rejects.toMatchObject({ code: 'not_found' });
    await expect(custom.rename('default_nobody', 'default_nowhere')).rejects.toMatchObject({ code: 'not_found' });
    await custom.create('default_other');
    await expect(custom.rename('default_other', 'default_after')).rejects.toMatchObject({ code: 'conflict' });
    await custom.delete('default_other');
    await custom.delete('default_after');
  });

  it('deletes a custom volume with its directory, and has done so when asked again', async () => {
    const { custom } = getDriver();
    await custom.create('default_doomed');
    const volume = dirname(await custom.mount('default_doomed'));
    await custom.delete('default_doomed');
    await custom.delete('default_doomed');
    expect(await findPathKind(volume)).toBeNull();
    expect((await listMounts()).some((mount) => mount.path === volume)).toBe(false);
    expect(await custom.list()).not.toContain('default_doomed');
    await expect(custom.mount('default_doomed')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('keeps the pool while it has a custom volume', async () => {
    const { custom } = getDriver();
    await custom.create('default_keeper');
    await expect(getDriver().deletePool()).rejects.toMatchObject({ code: 'failed' });
    await custom.mount('default_keeper');
    await custom.delete('default_keeper');
  });

  it.each(['-rf', '../evil', 'a/b', '', 'a\nb', 'a@b'])('refuses %j as the name of a custom volume', async (name) => {
    const { custom } = getDriver();
    const refusal = { code: 'bad_request' };
    const asked = async (call: () => Promise<unknown>) => call();
    await expect(asked(() => custom.create(name))).rejects.toMatchObject(refusal);
    await expect(asked(() => custom.mount(name))).rejects.toMatchObject(refusal);
    await expect(asked(() => custom.rename('default_x', name))).rejects.toMatchObject(refusal);
    await expect(asked(() => custom.delete(name))).rejects.toMatchObject(refusal);
  });

  it.runIf(options.quota)('limits what a custom volume holds: more, less, and without end', async () => {
    const { custom } = getDriver();
    await custom.create('default_limited');
    const content = await custom.mount('default_limited');
    const fill = (mebibytes: number) =>
      exec('dd', ['if=/dev/urandom', `of=${content}/data`, 'bs=1M', `count=${mebibytes}`, 'conv=fsync', 'status=none']);
    await custom.setQuota('default_limited', 20 * MEBIBYTE);
    await expect(fill(30)).rejects.toThrow(/No space left|quota exceeded/i);
    // ZFS notices at the end of a transaction group and may be a few blocks late.
    const used = await custom.usage('default_limited');
    expect(used).toBeGreaterThan(10 * MEBIBYTE);
    expect(used).toBeLessThan(21 * MEBIBYTE);
    await exec('rm', [`${content}/data`]);
    await custom.setQuota('default_limited', 40 * MEBIBYTE);
    await fill(30);
    await exec('rm', [`${content}/data`]);
    await exec('sync', []);
    // ZFS frees what was removed with its next transaction group, and does not go below what is used.
    await vi.waitFor(() => custom.setQuota('default_limited', 10 * MEBIBYTE), { timeout: 20_000, interval: 200 });
    await expect(fill(20)).rejects.toThrow(/No space left|quota exceeded/i);
    await exec('rm', [`${content}/data`]);
    await custom.setQuota('default_limited', null);
    await fill(30);
    await custom.delete('default_limited');
  });

  it.runIf(options.quota)('grows a pool that is on a file of its own, and does not shrink it', async () => {
    const driver = getDriver();
    const before = (await driver.poolUsage()).totalBytes;
    for (const _ of [1, 2]) await driver.growPool(1536 * MEBIBYTE);
    // zfs-fuse takes it at the next import.
    await options.powerCut();
    await driver.openPool();
    expect((await driver.poolUsage()).totalBytes).toBeGreaterThan(before + 256 * MEBIBYTE);
    await expect(driver.growPool(512 * MEBIBYTE)).rejects.toMatchObject({ code: 'bad_request' });
  });

  it.runIf(!options.quota)('cannot grow what is not on a file of its own', async () => {
    await expect(getDriver().growPool(2 ** 40)).rejects.toMatchObject({
      code: 'bad_request',
      message: 'Cannot resize non-loopback pools',
    });
  });

  it.runIf(!options.quota)('refuses a limit it cannot enforce on a custom volume', async () => {
    const { custom } = getDriver();
    await custom.create('default_unlimited');
    await expect(custom.setQuota('default_unlimited', MEBIBYTE)).rejects.toMatchObject({ code: 'bad_request' });
    expect(await custom.usage('default_unlimited')).toBeNull();
    await custom.delete('default_unlimited');
  });
}
