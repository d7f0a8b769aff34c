import { describe, expect, it } from 'vitest';
import { addressRefusal, evacuationAction } from '#worker/domain/evacuation.ts';

const ROOT = { type: 'disk', path: '/', pool: 'local' };
const isManaged = (network: string) => network === 'lxdbr0';

describe('what an evacuation does with an instance', () => {
  it.each<[string, Record<string, Record<string, string>>, 'stop' | 'migrate']>([
    ['nothing but its root', {}, 'migrate'],
    ['a NIC of a network', { eth0: { type: 'nic', network: 'lxdbr0' } }, 'migrate'],
    ['a NIC on a network’s bridge', { eth0: { type: 'nic', nictype: 'bridged', parent: 'lxdbr0' } }, 'migrate'],
    ['a device taken out of its profiles', { eth0: { type: 'none' } }, 'migrate'],
    ['a NIC on a bridge of the host', { eth0: { type: 'nic', nictype: 'bridged', parent: 'br0' } }, 'stop'],
    ['a directory of the host', { srv: { type: 'disk', path: '/srv', source: '/srv' } }, 'stop'],
    ['a volume of its pool', { data: { type: 'disk', path: '/data', pool: 'local', source: 'data' } }, 'stop'],
    ['a device node', { fuse: { type: 'unix-char', path: '/dev/fuse' } }, 'stop'],
    ['a proxy', { web: { type: 'proxy', listen: 'tcp:0.0.0.0:80', connect: 'tcp:127.0.0.1:80' } }, 'stop'],
  ])('with %s, left to itself', (_case, devices, action) => {
    expect(evacuationAction('', {}, { root: ROOT, ...devices }, isManaged)).toBe(action);
    expect(evacuationAction('auto', { 'cluster.evacuate': 'auto' }, { root: ROOT, ...devices }, isManaged)).toBe(
      action,
    );
  });

  it('is its own choice, unless the request says otherwise', () => {
    const devices = { root: ROOT };
    expect(evacuationAction('', { 'cluster.evacuate': 'stop' }, devices, isManaged)).toBe('stop');
    expect(evacuationAction('', { 'cluster.evacuate': 'live-migrate' }, devices, isManaged)).toBe('migrate');
    expect(evacuationAction('migrate', { 'cluster.evacuate': 'stop' }, devices, isManaged)).toBe('migrate');
    expect(evacuationAction('stop', { 'cluster.evacuate': 'migrate' }, devices, isManaged)).toBe('stop');
  });
});

describe('an address of its own', () => {
  const networks: Record<string, Record<string, string>> = {
    lxdbr0: { 'ipv4.address': '10.7.0.1/24', 'ipv6.address': 'fd42:7::1/64' },
    fresh: { 'ipv4.address': 'auto' },
  };
  const refusal = (keys: Record<string, string>) =>
    addressRefusal({ root: ROOT, eth0: { type: 'nic', ...keys } }, (name) => networks[name]);

  it.each<[string, Record<string, string>]>([
    ['is in the subnet there', { network: 'lxdbr0', 'ipv4.address': '10.7.0.9', 'ipv6.address': 'fd42:7::9' }],
    ['is none', { network: 'lxdbr0' }],
    ['is on a network that has no subnet yet', { network: 'fresh', 'ipv4.address': '10.9.0.9' }],
    ['is on a bridge of the host', { parent: 'br0', 'ipv4.address': '10.9.0.9' }],
  ])('lets it go when it %s', (_case, keys) => {
    expect(refusal(keys)).toBeNull();
  });

  it.each<[string, Record<string, string>]>([
    ['an IPv4 one', { network: 'lxdbr0', 'ipv4.address': '10.9.0.9' }],
    ['an IPv4 one by the bridge’s name', { parent: 'lxdbr0', 'ipv4.address': '10.9.0.9' }],
    ['an IPv6 one', { network: 'lxdbr0', 'ipv6.address': 'fd42:8::9' }],
  ])('outside the subnet there keeps it: %s', (_case, keys) => {
    const address = keys['ipv4.address'] ?? keys['ipv6.address'];
    expect(refusal(keys)).toBe(`Device IP address "${address}" not within network "lxdbr0" subnet`);
  });
});
