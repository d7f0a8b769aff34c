import { describe, expect, it } from 'vitest';
import { checkPoolConfig, splitPoolConfig } from '#worker/domain/pool-config.ts';

describe('a pool takes', () => {
  it.each([
    ['zfs', {}],
    ['zfs', { size: '20GiB' }],
    ['zfs', { source: '/dev/vdb', 'zfs.pool_name': 'tank' }],
    ['zfs', { source: 'tank/lxd' }],
    ['zfs', { 'zfs.clone_copy': 'rebase', 'volume.zfs.blocksize': '64KiB' }],
    ['btrfs', { source: '/var/lib/disk.img', 'btrfs.mount_options': 'noatime,compress=zstd:3' }],
    ['dir', { source: '/srv/data', 'rsync.bwlimit': '10', 'user.note': 'two\nlines' }],
    ['dir', { 'volume.size': '1GiB', 'volume.user.x': 'y', 'volume.snapshots.expiry': '3d' }],
  ] as const)('%s %j', (driver, config) => {
    expect(checkPoolConfig(driver, config)).toBeNull();
  });
});

describe('a pool refuses', () => {
  it.each([
    ['dir', { nope: '1' }, 'Invalid option "nope"'],
    ['dir', { size: '1GiB' }, 'Invalid option "size"'],
    ['dir', { 'zfs.pool_name': 'x' }, 'Invalid option "zfs.pool_name"'],
    ['dir', { 'volume.zfs.blocksize': '4KiB' }, 'Invalid option "volume.zfs.blocksize"'],
    ['dir', { constructor: 'x' }, 'Invalid option "constructor"'],
    ['dir', { 'volume.constructor': 'x' }, 'Invalid option "volume.constructor"'],
    ['zfs', { size: 'much' }, 'option "size"'],
    ['zfs', { size: '0' }, 'option "size"'],
    ['zfs', { size: '-5GiB' }, 'option "size"'],
    ['zfs', { source: 'relative/../path' }, 'option "source"'],
    ['zfs', { source: '/dev/../etc/passwd' }, 'option "source"'],
    ['zfs', { source: '-o' }, 'option "source"'],
    ['zfs', { 'zfs.pool_name': 'tank@snap' }, 'option "zfs.pool_name"'],
    ['zfs', { 'zfs.pool_name': '-f' }, 'option "zfs.pool_name"'],
    ['zfs', { 'zfs.pool_name': 'a/../b' }, 'option "zfs.pool_name"'],
    ['zfs', { 'zfs.clone_copy': 'maybe' }, 'option "zfs.clone_copy"'],
    ['dir', { source: 'data' }, 'option "source"'],
    ['dir', { source: '/srv/\nx' }, 'option "source"'],
    ['btrfs', { 'btrfs.mount_options': '-o evil' }, 'option "btrfs.mount_options"'],
    ['dir', { 'rsync.compression': 'perhaps' }, 'option "rsync.compression"'],
  ] as const)('%s %j', (driver, config, text) => {
    expect(checkPoolConfig(driver, config)).toContain(text);
  });
});

it('knows the keys that are a member’s own', () => {
  expect(
    splitPoolConfig({ size: '1', source: '/a', 'zfs.pool_name': 'p', 'rsync.bwlimit': '1', 'user.a': 'b' }),
  ).toEqual({
    member: { size: '1', source: '/a', 'zfs.pool_name': 'p' },
    cluster: { 'rsync.bwlimit': '1', 'user.a': 'b' },
  });
});
