import { describe, expect, it } from 'vitest';
import { findUnsupportedConfig, findUnsupportedDevice } from '#worker/domain/instance-unsupported.ts';

describe('findUnsupportedConfig', () => {
  it.each([
    ['raw.lxc', 'lxc.a = b'],
    ['raw.idmap', 'both 0 0'],
    ['security.idmap.isolated', 'true'],
    ['security.syscalls.deny', 'mount'],
    ['security.devlxd', 'true'],
    ['limits.hugepages.2MB', '1GB'],
    ['limits.disk.priority', '5'],
    ['nvidia.runtime', '1'],
    ['snapshots.schedule', '@daily'],
  ])('names %s = %s', (key, value) => {
    expect(findUnsupportedConfig({ [key]: value })).toBe(`Configuration key "${key}" is not supported in this version`);
  });

  it('lets pass what asks for nothing, what is there already, and what works', () => {
    expect(findUnsupportedConfig({ 'security.devlxd': 'false', 'raw.lxc': '' })).toBeNull();
    expect(findUnsupportedConfig({ 'raw.lxc': 'a' }, { 'raw.lxc': 'a' })).toBeNull();
    expect(findUnsupportedConfig({ 'raw.lxc': 'b' }, { 'raw.lxc': 'a' })).toContain('"raw.lxc"');
    expect(findUnsupportedConfig({ 'limits.cpu': '1', 'security.nesting': 'true' })).toBeNull();
  });
});

describe('findUnsupportedDevice', () => {
  const nic = { type: 'nic', network: 'br0' };

  it.each([
    [{ eth0: { ...nic, 'limits.max': '1Gbit' } }, 'limits.max'],
    [{ eth0: { ...nic, 'ipv4.routes': '10.9.0.0/16' } }, 'ipv4.routes'],
    [{ eth0: { ...nic, 'security.mac_filtering': 'true' } }, 'security.mac_filtering'],
    [{ eth0: { type: 'disk', path: '/x', source: '/y', 'limits.read': '1MB' } }, 'limits.read'],
  ])('names the option of %j', (devices, option) => {
    expect(findUnsupportedDevice(devices)).toBe(
      `Device validation failed for "eth0": Device option "${option}" is not supported in this version`,
    );
    expect(findUnsupportedDevice(devices, devices)).toBeNull();
  });

  it('lets pass what works', () => {
    expect(
      findUnsupportedDevice({ eth0: { ...nic, 'ipv4.address': '10.0.0.2', 'security.mac_filtering': 'no' } }),
    ).toBeNull();
  });
});
