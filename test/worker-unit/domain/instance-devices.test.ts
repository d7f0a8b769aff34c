import { describe, expect, it } from 'vitest';
import type { Device, Devices } from '#worker/domain/config.ts';
import {
  checkDevices,
  checkNicNetworks,
  checkRestrictedDevices,
  nicNames,
  nicNetworks,
} from '#worker/domain/instance-devices.ts';

const disk = (more: Device): Devices => ({ data: { type: 'disk', path: '/data', source: '/srv', ...more } });
const nic = (more: Device): Devices => ({ eth0: { type: 'nic', network: 'br0', ...more } });
const bridged = (more: Device): Devices => ({ eth0: { type: 'nic', nictype: 'bridged', parent: 'br0', ...more } });

const BAD: [what: string, devices: Devices, refusal: RegExp][] = [
  ['a device without a type', { x: {} }, /Missing device type/],
  ['an unknown type', { x: { type: 'warp' } }, /Failed loading device "x": Unsupported device type$/],
  ['a GPU', { x: { type: 'gpu' } }, /Device type "gpu" is not supported in this version/],
  ['a proxy', { x: { type: 'proxy', listen: 'tcp:0.0.0.0:80' } }, /"proxy" is not supported/],
  ['a unix-char device', { x: { type: 'unix-char', path: '/dev/kvm' } }, /not supported/],
  ['an empty device name', { '': { type: 'none' } }, /Invalid device name/],
  ['a device name with a space', { 'a b': { type: 'none' } }, /Invalid device name/],
  ['a device name that is too long', { ['x'.repeat(64)]: { type: 'none' } }, /Invalid device name/],
  ['a device name with a line break', { 'a\nb': { type: 'none' } }, /Invalid device name/],
  ['a disk without a path', { x: { type: 'disk', source: '/srv' } }, /Missing path/],
  ['a disk without a source', { x: { type: 'disk', path: '/data' } }, /missing the required "source"/],
  ['a disk on a relative path', disk({ path: 'data' }), /must be absolute/],
  ['a disk path that climbs', disk({ path: '/data/../../etc' }), /must be absolute, without ".."/],
  ['a disk source that climbs', disk({ source: '/srv/../etc' }), /Source path must be absolute/],
  ['a relative source', disk({ source: 'srv' }), /Source path must be absolute/],
  ['a Ceph source', disk({ source: 'ceph:pool/vol' }), /Source path must be absolute/],
  ['a custom volume by path', disk({ pool: 'default' }), /Storage volumes cannot be specified as absolute paths/],
  ['a custom volume that climbs', disk({ pool: 'default', source: '..' }), /Invalid name ".."/],
  ['a shifted custom volume', disk({ pool: 'default', source: 'v', shift: 'true' }), /"shift" property cannot be used/],
  ['a custom volume with what is below', disk({ pool: 'p', source: 'v', recursive: 'true' }), /recursive option/],
  ['a size on a custom volume', disk({ pool: 'p', source: 'v', size: '1GiB' }), /Only the root disk/],
  ['a root disk without a pool', { root: { type: 'disk', path: '/' } }, /must have a "pool"/],
  [
    'a root disk with a source',
    { root: { type: 'disk', path: '/', pool: 'p', source: '/' } },
    /may not have a "source"/,
  ],
  ['a size on a host path', disk({ size: '1GiB' }), /Only the root disk may have a size quota/],
  ['a size that is none', { root: { type: 'disk', path: '/', pool: 'p', size: 'big' } }, /Invalid value: big/],
  ['an unknown disk option', disk({ nope: '1' }), /Invalid device option "nope"/],
  ['a NIC option on a disk', disk({ hwaddr: '00:16:3e:00:00:01' }), /Invalid device option "hwaddr"/],
  ['a disk flag that is no boolean', disk({ readonly: 'maybe' }), /boolean/],
  ['an unknown propagation', disk({ propagation: 'all' }), /not one of/],
  ['a disk rate that is none', disk({ 'limits.read': 'fast' }), /Invalid value: fast/],
  ['a line break in a disk path', disk({ path: '/a\nlxc.hook' }), /line breaks/],
  ['a NUL in a source', disk({ source: '/a\0b' }), /line breaks and NUL/],
  ['a NIC without network or type', { eth0: { type: 'nic' } }, /Unsupported device type$/],
  ['network and parent together', nic({ parent: 'br1' }), /Cannot use "parent" property in conjunction with "network"/],
  ['network and nictype together', nic({ nictype: 'bridged' }), /Cannot use "nictype"/],
  ['network and mtu together', nic({ mtu: '1400' }), /Cannot use "mtu"/],
  [
    'two root disks',
    { a: { type: 'disk', path: '/', pool: 'p' }, b: { type: 'disk', path: '/', pool: 'p' } },
    /More than one root device found/,
  ],
  ['a bridged NIC without a parent', { eth0: { type: 'nic', nictype: 'bridged' } }, /"parent": Required value/],
  ['a macvlan NIC', { eth0: { type: 'nic', nictype: 'macvlan', parent: 'eth0' } }, /"macvlan" is not supported/],
  ['a MAC address that is too short', nic({ hwaddr: '00:16:3e' }), /Invalid MAC address/],
  ['an MTU that is none', bridged({ mtu: 'jumbo' }), /Invalid value for an integer/],
  ['an MTU of zero', bridged({ mtu: '0' }), /must be between/],
  ['an IPv4 address with three parts', nic({ 'ipv4.address': '10.0.1' }), /Not an IPv4 address/],
  ['an IPv6 address as IPv4', nic({ 'ipv4.address': 'fd00::1' }), /Not an IPv4 address/],
  ['an IPv6 address with a zone', nic({ 'ipv6.address': 'fe80::1%eth0' }), /Not an IPv6 address/],
  ['a route that is no network', nic({ 'ipv4.routes': '10.0.0.1' }), /Not a list of IPv4 networks/],
  ['an interface name that is too long', nic({ name: 'an-interface-name' }), /too long/],
  ['an interface name with a slash', nic({ name: 'a/b' }), /invalid characters/],
  ['a VLAN beyond the range', nic({ vlan: '4095' }), /must be between/],
  ['a bit rate that is none', nic({ 'limits.ingress': '10MB' }), /Invalid value: 10MB/],
  ['a line break in an interface name', nic({ name: 'eth0\nx' }), /line breaks/],
  [
    'two disks on one path',
    { a: { type: 'disk', path: '/d', source: '/1' }, b: { type: 'disk', path: '/d', source: '/2' } },
    /^Device validation failed for "a": More than one disk device uses the same path "\/d"/,
  ],
  [
    'two NICs with one name',
    { a: { type: 'nic', network: 'x', name: 'eth0' }, b: { type: 'nic', network: 'y', name: 'eth0' } },
    /More than one nic device uses the same name/,
  ],
];

describe('checkDevices', () => {
  it.each(BAD)('refuses %s', (_what, devices, refusal) => {
    expect(checkDevices(devices)).toMatch(refusal);
  });

  it.each<[string, Devices]>([
    ['a root disk with a size', { root: { type: 'disk', path: '/', pool: 'p', size: '10GiB' } }],
    ['a host path', disk({ readonly: 'true', 'limits.read': '10MB', 'limits.write': '100iops' })],
    ['a NIC on a network', nic({ 'ipv4.address': '10.0.0.5', 'ipv6.address': 'fd00::5', 'limits.max': '10Mbit' })],
    ['a NIC on a bridge', { eth0: { type: 'nic', nictype: 'bridged', parent: 'br0', name: 'eth0' } }],
    ['a NIC without an address', nic({ 'ipv4.address': 'none' })],
    ['a mask for a profile device', { eth0: { type: 'none' } }],
    ['unset options', nic({ hwaddr: '', mtu: '' })],
    ['free user options', nic({ 'user.owner': 'me' })],
    ['nothing', {}],
  ])('takes %s', (_what, devices) => {
    expect(checkDevices(devices)).toBeNull();
  });

  it('names the device in the refusal', () => {
    expect(checkDevices({ web: { type: 'gpu' } })).toMatch(/^Device validation failed for "web": /);
  });
});

describe('checkNicNetworks', () => {
  const managed = new Set(['br0']);

  it('refuses a second NIC on a managed network, by either name', () => {
    const second = { eth1: { type: 'nic', nictype: 'bridged', parent: 'br0' } };
    expect(checkNicNetworks({ ...nic({}), ...second }, 'c1', managed)).toBe(
      'Failed add validation for device "eth1": Instance DNS name "c1" already used on network',
    );
  });

  it('takes several NICs on several networks, or on one bridge of the host', () => {
    const elsewhere = { eth1: { type: 'nic', network: 'br1' } };
    expect(checkNicNetworks({ ...nic({}), ...elsewhere }, 'c1', new Set(['br0', 'br1']))).toBeNull();
    const twice = { a: { type: 'nic', nictype: 'bridged', parent: 'wan' }, b: { type: 'nic', parent: 'wan' } };
    expect(checkNicNetworks(twice, 'c1', managed)).toBeNull();
  });
});

describe('checkRestrictedDevices', () => {
  const managed = new Set(['br0']);

  it('forbids host paths, raw mount options and host bridges', () => {
    expect(checkRestrictedDevices(disk({}), managed)).toMatch(/forbidden/);
    const root = { root: { type: 'disk', path: '/', pool: 'p', 'raw.mount.options': 'suid' } };
    expect(checkRestrictedDevices(root, managed)).toMatch(/forbidden/);
    const bridged = { eth0: { type: 'nic', nictype: 'bridged', parent: 'docker0' } };
    expect(checkRestrictedDevices(bridged, managed)).toMatch(/Only managed networks/);
  });

  it('lets the root disk and managed networks pass, by either name', () => {
    expect(checkRestrictedDevices({ root: { type: 'disk', path: '/', pool: 'p' }, ...nic({}) }, managed)).toBeNull();
    const bridged = { eth0: { type: 'nic', nictype: 'bridged', parent: 'br0' } };
    expect(checkRestrictedDevices(bridged, managed)).toBeNull();
  });

  it('lets a device stay as it was, and refuses any change of it', () => {
    expect(checkRestrictedDevices(disk({}), managed, disk({}))).toBeNull();
    expect(checkRestrictedDevices(disk({ source: '/etc' }), managed, disk({}))).toMatch(/forbidden/);
  });
});

it('nicNetworks tells required networks from possible ones, each once', () => {
  const devices = {
    a: { type: 'nic', network: 'n1' },
    b: { type: 'nic', network: 'n1' },
    c: { type: 'nic', nictype: 'bridged', parent: 'n1' },
    d: { type: 'nic', nictype: 'bridged', parent: 'br0' },
    root: { type: 'disk', path: '/', pool: 'p' },
  };
  expect(nicNetworks(devices)).toEqual({ required: ['n1'], possible: ['br0'] });
  expect(nicNames(devices)).toEqual(['a', 'b', 'c', 'd']);
});
