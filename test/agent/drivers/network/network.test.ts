import { describe, expect, it } from 'vitest';
import { decideAddresses } from '#agent/drivers/network/auto.ts';
import { readBridgeConfig } from '#agent/drivers/network/config.ts';
import { dnsmasqArguments } from '#agent/drivers/network/dnsmasq.ts';
import { joinLeases, parseLeases } from '#agent/drivers/network/leases.ts';
import { renderRules } from '#agent/drivers/network/nft.ts';
import { checkedRequest, decide, hostLine, toAttachment } from '#agent/drivers/network/reservations.ts';
import { parseLinkLocal } from '#agent/drivers/network/state.ts';
import type { Reservation } from '#agent/drivers/network/store.ts';
import { cidr, eui64Address, hostSpan, parseSubnet, pickFree } from '#agent/drivers/network/subnet.ts';
import { releaseMessage } from '#agent/system/dhcp-release.ts';

const spec = (config: Record<string, string>, name = 'br0') => ({
  name,
  type: 'bridge' as const,
  description: '',
  config,
});
const config = readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/29', 'ipv4.nat': 'true', 'ipv6.address': 'none' }));
const request = {
  instance: 'web',
  device: 'eth0',
  network: 'br0',
  hwaddr: '00:16:3e:00:00:01',
  ipv4Address: null,
  ipv6Address: null,
};
const reservation = (instance: string, last: number, ipv4: string): Reservation => ({
  instance,
  device: 'eth0',
  hwaddr: `00:16:3e:00:00:0${last}`,
  ipv4,
  ipv6: null,
  fixedIpv4: false,
  fixedIpv6: false,
  named: true,
});
const nobody = { reservations: [], leases: [], elsewhere: new Set<string>() };

describe('a network config', () => {
  it.each([
    ['bridge.external_interfaces', 'eth1\nlink delete eth0'],
    ['bridge.external_interfaces', 'eth1 nomaster'],
    ['bridge.external_interfaces', '-x'],
    ['bridge.hwaddr', '00:16:3e:00:00:01 up'],
    ['bridge.mtu', '1500 up'],
    ['ipv4.address', '10.0.0.1/24\naddress'],
    ['ipv4.address', '10.0.0.1'],
    ['ipv4.address', '10.1/24'],
    ['ipv4.address', 'fd42::1/64'],
    ['ipv4.nat.address', '1.2.3.4; drop'],
    ['ipv4.dhcp.expiry', '1h,evil'],
    ['ipv4.dhcp.ranges', '10.0.0.5-10.0.0.6\n'],
    ['ipv4.dhcp.ranges', '10.0.0.5-$(x)'],
    ['dns.domain', 'lxd\nport=1'],
    ['dns.domain', 'lxd,1.2.3.4'],
    ['dns.search', 'a b'],
    ['dns.mode', 'other'],
    ['ipv4.nat', 'maybe'],
    ['some.other', 'a\rb'],
  ])('refuses %s = %j', (key, value) => {
    const base: Record<string, string> = { 'ipv4.address': '10.0.0.1/24' };
    expect(() => readBridgeConfig(spec({ ...base, [key]: value }))).toThrow(
      expect.objectContaining({ code: 'bad_request' }),
    );
  });

  it.each(['-br', 'a b', 'br0\n', 'x', 'name-that-is-too-long', '../br', 'br"0'])('refuses the name %j', (name) => {
    expect(() => readBridgeConfig(spec({}, name))).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });
});

describe('addresses', () => {
  it.each([
    ['10.1.2.1/24', '10.1.2.1/24'],
    ['10.1.2.0/24', '10.1.2.1/24'],
    ['fd42::/64', 'fd42::1/64'],
  ])('of %s make the gateway %s', (text, expected) => {
    const subnet = parseSubnet(text);
    expect(subnet && cidr(subnet)).toBe(expected);
  });

  it('skip network, gateway, broadcast and all that are taken', () => {
    const subnet = parseSubnet('10.1.2.1/29');
    if (subnet === null) throw new Error('not a subnet');
    const all = hostSpan(subnet, null);
    const spans = all === null ? [] : [all];
    const taken = new Set(['10.1.2.2', '10.1.2.4', '10.1.2.5', '10.1.2.6']);
    for (const seed of [0n, 3n, 5n, 1_000n]) expect(pickFree(subnet, spans, taken, seed)).toBe('10.1.2.3');
    expect(pickFree(subnet, spans, taken.add('10.1.2.3'), 0n)).toBeNull();
  });

  it('come from the DHCP ranges where there are some, and leave a range that is no longer theirs', () => {
    const ranged = readBridgeConfig(
      spec({ 'ipv4.address': '10.1.2.1/24', 'ipv4.dhcp.ranges': '10.1.2.50-10.1.2.51,10.1.2.60-10.1.2.60' }),
    );
    const reservations: Reservation[] = [];
    for (const last of [1, 2, 3]) {
      const nic = { ...request, instance: `c${last}`, hwaddr: `00:16:3e:00:00:0${last}` };
      const moved = last === 1 ? reservation('c1', 1, '10.1.2.9') : null;
      reservations.push(decide(ranged, nic, { ...nobody, reservations }, moved));
    }
    expect(reservations.map(({ ipv4 }) => ipv4).sort()).toEqual(['10.1.2.50', '10.1.2.51', '10.1.2.60']);
    const one = { ...request, instance: 'c4', hwaddr: '00:16:3e:00:00:04' };
    expect(() => decide(ranged, one, { ...nobody, reservations }, null)).toThrow('No free IP addresses');
  });

  it('of other hosts are used only when nothing else is left', () => {
    const others = { ...nobody, elsewhere: new Set(['10.1.2.2', '10.1.2.3', '10.1.2.4', '10.1.2.5']) };
    expect(decide(config, request, others, null).ipv4).toBe('10.1.2.6');
    const all = { ...nobody, elsewhere: new Set([...others.elsewhere, '10.1.2.6']) };
    expect(decide(config, request, all, null).ipv4).toMatch(/^10\.1\.2\.[2-6]$/);
  });

  it('of IPv6 are those that the guest gives itself', () => {
    const subnet = parseSubnet('fd42:1:2:3::1/64');
    expect(subnet && eui64Address(subnet, '00:16:3e:12:34:56')).toBe('fd42:1:2:3:216:3eff:fe12:3456');
  });

  it('leave out those of other reservations and of foreign leases', () => {
    const others = {
      ...nobody,
      reservations: [reservation('a', 2, '10.1.2.2'), reservation('b', 3, '10.1.2.5'), reservation('c', 4, '10.1.2.6')],
      leases: [{ hwaddr: '00:16:3e:ff:ff:ff', address: '10.1.2.3', hostname: '' }],
    };
    expect(decide(config, request, others, null).ipv4).toBe('10.1.2.4');
  });

  it('stay with a NIC when another becomes free, and go back to the pool when no longer fixed', () => {
    const old = decide(config, request, nobody, reservation('web', 1, '10.1.2.5'));
    expect(old.ipv4).toBe('10.1.2.5');
    const fixed = decide(config, { ...request, ipv4Address: '10.1.2.6' }, nobody, old);
    expect(fixed).toMatchObject({ ipv4: '10.1.2.6', fixedIpv4: true });
    const pooled = decide(config, request, nobody, fixed);
    expect(pooled).toMatchObject({ ipv4: decide(config, request, nobody, null).ipv4, fixedIpv4: false });
  });

  it('run out with a clear error', () => {
    const full = [2, 3, 4, 5, 6].map((last) => reservation(`c${last}`, last, `10.1.2.${last}`));
    expect(() => decide(config, request, { ...nobody, reservations: full }, null)).toThrow(
      'No free IP addresses on network "br0"',
    );
  });

  it('that are auto never overlap what the host uses', () => {
    const used = [parseSubnet('10.0.0.1/9')].filter((one) => one !== null);
    const decided = decideAddresses(
      { 'ipv4.address': 'auto', 'ipv6.address': 'none' },
      { ipv4: '10.5.5.0/24', ipv6: null },
      used,
    );
    expect(Number(decided['ipv4.address']?.split('.')[1])).toBeGreaterThan(127);
  });
});

describe('a gateway of its own', () => {
  it('is what instances are given, by their config and by DHCP', () => {
    const routed = readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/24', 'ipv4.dhcp.gateway': '10.1.2.254' }));
    expect(toAttachment(routed, reservation('web', 1, '10.1.2.2')).ipv4Gateway).toBe('10.1.2.254');
    const paths = { directory: '/d', hosts: '/d/h', names: '/d/n', leases: '/d/l', pidFile: '/r/p' };
    expect(dnsmasqArguments(routed, paths, 'nobody')).toContain('--dhcp-option-force=3,10.1.2.254');
    expect(() => readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/24', 'ipv4.dhcp.gateway': '1;x' }))).toThrow();
    expect(() =>
      readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/24', 'ipv4.routes': '10.0.0.0/8 dev lo' })),
    ).toThrow();
  });
});

describe('what dnsmasq is told', () => {
  it('is one line a NIC', () => {
    expect(hostLine(config, reservation('proj_web', 1, '10.1.2.2'))).toBe('00:16:3e:00:00:01,10.1.2.2,proj-web\n');
  });

  it.each([
    { instance: 'a\nb' },
    { instance: 'a,b' },
    { instance: '../a' },
    { instance: '-a' },
    { device: 'e\n' },
    { hwaddr: '00:16:3e:00:00:01\n' },
    { hwaddr: 'id:*' },
  ])('is refused for %j', (hostile) => {
    expect(() => checkedRequest({ ...request, ...hostile })).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });

  it('has no name and no domain without DNS', () => {
    const quiet = readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/24', 'dns.mode': 'none' }));
    const paths = { directory: '/d', hosts: '/d/h', names: '/d/n', leases: '/d/l', pidFile: '/r/p' };
    expect(hostLine(quiet, reservation('web', 1, '10.1.2.2'))).toBe('00:16:3e:00:00:01,10.1.2.2\n');
    expect(dnsmasqArguments(quiet, paths, 'nobody')).not.toContain('lxd');
    expect(dnsmasqArguments(quiet, paths, 'nobody')).toContain('10.1.2.2,10.1.2.254,1h');
  });
});

describe('rules', () => {
  it('hold masquerading only with NAT, and end the chains of what is off', () => {
    expect(renderRules('br0', config)).toContain('ip saddr 10.1.2.0/29 ip daddr != 10.1.2.0/29 masquerade');
    const off = renderRules('br0', readBridgeConfig(spec({ 'ipv4.address': '10.1.2.1/24', 'ipv4.firewall': 'false' })));
    expect(off).toContain('delete chain inet longshore pstrt.br0');
    expect(off).toContain('delete chain inet longshore in.br0');
  });
});

describe('leases', () => {
  it('join reservations with what others took, each address once', () => {
    const text = '1790000000 00:16:3e:00:00:01 10.1.2.2 web *\n1790000000 00:16:3e:0a:0b:0c 10.1.2.5 * *\nduid 00:01\n';
    expect(joinLeases(config, [{ ...reservation('web', 1, '10.1.2.2'), fixedIpv4: true }], parseLeases(text))).toEqual([
      { hostname: 'br0.gw', hwaddr: '', address: '10.1.2.1', type: 'gateway' },
      { hostname: 'web', hwaddr: '00:16:3e:00:00:01', address: '10.1.2.2', type: 'static' },
      { hostname: '', hwaddr: '00:16:3e:0a:0b:0c', address: '10.1.2.5', type: 'dynamic' },
    ]);
  });

  it('are given back in a message with client, server and type', () => {
    const message = releaseMessage({ address: '10.1.2.3', hwaddr: '00:16:3e:00:00:01', server: '10.1.2.1' });
    expect([...message.subarray(12, 16)]).toEqual([10, 1, 2, 3]);
    expect(message.subarray(28, 34).toString('hex')).toBe('00163e000001');
    expect([...message.subarray(240, 250)]).toEqual([53, 1, 7, 54, 4, 10, 1, 2, 1, 255]);
  });
});

it('reads link-local addresses of a bridge from the kernel', () => {
  const text =
    'fe8000000000000002163efffe000001 05 40 20 80     br0\nfe80000000000000000000000000abcd 06 40 20 80     br1\n';
  expect(parseLinkLocal(text, 'br0')).toEqual([
    { family: 'inet6', address: 'fe80::216:3eff:fe00:1', netmask: '64', scope: 'link' },
  ]);
});
