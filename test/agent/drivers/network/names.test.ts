import { describe, expect, it } from 'vitest';
import { readBridgeConfig } from '#agent/drivers/network/config.ts';
import { upstreamServers, withNameServer, withoutNameServer } from '#agent/drivers/network/host-names.ts';
import { entriesBeside, hostsText, nameEntries } from '#agent/drivers/network/names.ts';
import type { Reservation } from '#agent/drivers/network/store.ts';

const network = (name: string, config: Record<string, string>, reservations: Reservation[] = []) => ({
  config: readBridgeConfig({ name, type: 'bridge', description: '', config }),
  reservations,
});
const reservation = (instance: string, ipv4: string, named = true): Reservation => ({
  instance,
  device: 'eth0',
  hwaddr: '00:16:3e:00:00:01',
  ipv4,
  ipv6: null,
  fixedIpv4: false,
  fixedIpv6: false,
  named,
});
const told = (name: string, addresses: Record<string, string>, project = 'default') => ({
  project,
  name,
  addresses: Object.entries(addresses).map(([at, address]) => ({ network: at, address })),
});
const lxdbr0 = { 'ipv4.address': '10.1.2.1/24' };

describe('names on a host', () => {
  it('of other hosts stand beside its own, short and with the domain', () => {
    const own = network('lxdbr0', lxdbr0, [reservation('c1', '10.1.2.2')]);
    const entries = nameEntries(
      [own],
      [told('c2', { lxdbr0: '10.9.9.2' }), told('web', { lxdbr0: 'fd42::2' }, 'shop')],
    );
    expect(hostsText(entries)).toBe('10.1.2.2 c1 c1.lxd\n10.9.9.2 c2 c2.lxd\nfd42::2 shop-web shop-web.lxd\n');
    expect(hostsText(entriesBeside(own, entries))).toBe('10.9.9.2 c2 c2.lxd\nfd42::2 shop-web shop-web.lxd\n');
  });

  it('of its own instances are what it knows itself: one that is down has none, whatever was told', () => {
    const own = network('lxdbr0', lxdbr0, [reservation('c1', '10.1.2.2', false)]);
    expect(nameEntries([own], [told('c1', { lxdbr0: '10.1.2.2' })])).toEqual([]);
  });

  it('with an address on the network that asks are answered with that one', () => {
    const one = network('lxdbr0', lxdbr0);
    const two = network('backend', { 'ipv4.address': '10.5.5.1/24', 'dns.domain': 'back.end' });
    const entries = nameEntries([one, two], [told('db', { lxdbr0: '10.1.2.9', backend: '10.5.5.9' })]);
    expect(hostsText(entriesBeside(one, entries))).toBe('10.1.2.9 db db.lxd\n');
    expect(hostsText(entriesBeside(two, entries))).toBe('10.5.5.9 db db.back.end\n');
    expect(entries).toHaveLength(2);
  });

  it('of one network are known in the others', () => {
    const one = network('lxdbr0', lxdbr0, [reservation('c1', '10.1.2.2')]);
    const two = network('backend', { 'ipv4.address': '10.5.5.1/24' });
    const entries = nameEntries([one, two], []);
    expect(hostsText(entriesBeside(two, entries))).toBe('10.1.2.2 c1 c1.lxd\n');
    expect(entriesBeside(one, entries)).toEqual([]);
  });

  it('are for the host alone on a bridge that is not ours', () => {
    expect(hostsText(nameEntries([], [told('c1', { br0: '192.0.2.7' })]))).toBe('192.0.2.7 c1 c1.lxd\n');
  });

  it.each(['none', 'dynamic'])('are neither given nor taken by a network whose DNS mode is %s', (mode) => {
    const quiet = network('lxdbr0', { ...lxdbr0, 'dns.mode': mode }, [reservation('c1', '10.1.2.2')]);
    const entries = nameEntries([quiet], [told('c2', { lxdbr0: '10.9.9.2' }), told('c3', { br0: '192.0.2.7' })]);
    expect(entries.map(({ name }) => name)).toEqual(['c3']);
    expect(entriesBeside(quiet, entries)).toEqual([]);
  });

  it.each([
    ['c1\n0.0.0.0 bank', '10.9.9.2'],
    ['c1 bank', '10.9.9.2'],
    ['-c1', '10.9.9.2'],
    ['c1', '10.9.9.2\n0.0.0.0 bank'],
    ['c1', 'nonsense'],
    ['c1', 'fe80::1%eth0'],
  ])('that are no names or addresses (%j, %j) reach no file', (name, address) => {
    expect(nameEntries([network('lxdbr0', lxdbr0)], [told(name, { lxdbr0: address })])).toEqual([]);
  });
});

describe('resolv.conf', () => {
  const before = '# of the admin\nsearch corp\nnameserver 192.0.2.53\n';

  it('names our server first, once, and keeps the rest', () => {
    const edited = withNameServer(before);
    expect(edited.split('\n').slice(1)).toEqual(['nameserver 127.0.0.55', ...before.split('\n')]);
    expect(withNameServer(edited)).toBe(edited);
    expect(withoutNameServer(edited)).toBe(before);
  });

  it('leaves our server only the others to ask, never itself', () => {
    expect(upstreamServers(withNameServer(`${before} nameserver 127.0.0.55\n`))).toBe('nameserver 192.0.2.53\n');
    expect(upstreamServers(withNameServer(''))).toBe('');
  });

  it('names it first again where others were put before it', () => {
    const edited = withNameServer(`nameserver 192.0.2.1\n${withNameServer(before)}`);
    expect(edited.match(/nameserver .*/g)).toEqual([
      'nameserver 127.0.0.55',
      'nameserver 192.0.2.1',
      'nameserver 192.0.2.53',
    ]);
  });
});
