import { describe, expect, it } from 'vitest';
import { checkNetworkConfig, mergeNetworkConfig, withNetworkDefaults } from '#worker/domain/network-config.ts';

describe('a network takes', () => {
  it.each([
    {},
    { 'ipv4.address': 'auto', 'ipv6.address': 'none' },
    {
      'ipv4.address': '10.0.0.1/24',
      'ipv4.nat': 'true',
      'ipv4.dhcp.ranges': '10.0.0.10-10.0.0.20, 10.0.0.50-10.0.0.60',
    },
    { 'ipv6.address': 'fd42:1::1/64', 'ipv6.dhcp.stateful': 'yes', 'ipv6.dhcp.ranges': 'fd42:1::10-fd42:1::ff' },
    { 'ipv4.routes': '10.1.0.0/16,10.2.0.0/16', 'ipv4.nat.order': 'after', 'ipv4.dhcp.expiry': '1h' },
    { 'bridge.mtu': '1400', 'bridge.hwaddr': '00:16:3e:00:00:01', 'bridge.external_interfaces': 'eth1, eth2' },
    { 'dns.domain': 'lxd.example', 'dns.mode': 'dynamic', 'dns.search': 'a.example,b.example' },
    { 'user.anything': 'a\nb' },
  ] as Record<string, string>[])('%j', (config) => {
    expect(checkNetworkConfig('br0', config)).toBeNull();
  });
});

describe('a network refuses', () => {
  it.each([
    [{ nope: '1' }, 'Invalid option for network "br0" option "nope"'],
    [{ toString: '1' }, 'option "toString"'],
    [{ 'raw.dnsmasq': 'dhcp-script=/bin/sh' }, 'option "raw.dnsmasq"'],
    [{ 'tunnel.a.protocol': 'gre' }, 'not supported'],
    [{ 'bridge.driver': 'openvswitch' }, 'option "bridge.driver"'],
    [{ 'ipv4.address': '10.0.0.1' }, 'option "ipv4.address"'],
    [{ 'ipv4.address': '10.0.0.0/24' }, 'Not a usable IPv4 address'],
    [{ 'ipv4.address': '10.0.0.1/32' }, 'Not a usable IPv4 address'],
    [{ 'ipv4.address': '10.0.0.1/33' }, 'option "ipv4.address"'],
    [{ 'ipv4.address': '10.1/16' }, 'option "ipv4.address"'],
    [{ 'ipv4.address': '010.0.0.1/24' }, 'option "ipv4.address"'],
    [{ 'ipv4.address': 'fd42::1/64' }, 'option "ipv4.address"'],
    [{ 'ipv4.address': '10.0.0.1/24\ndhcp-script=/bin/sh' }, 'Line breaks'],
    [{ 'ipv6.address': 'fe80::1%eth0/64' }, 'option "ipv6.address"'],
    [{ 'ipv6.address': 'fd42::/64' }, 'Not a usable IPv6 address'],
    [{ 'ipv4.dhcp.ranges': '10.0.0.20-10.0.0.10' }, 'option "ipv4.dhcp.ranges"'],
    [{ 'ipv4.dhcp.ranges': '10.0.0.20' }, 'option "ipv4.dhcp.ranges"'],
    [{ 'ipv4.address': '10.0.0.1/24', 'ipv4.dhcp.ranges': '10.0.1.2-10.0.1.9' }, 'outside'],
    [{ 'ipv4.dhcp.expiry': 'soon' }, 'option "ipv4.dhcp.expiry"'],
    [{ 'ipv4.nat': 'maybe' }, 'option "ipv4.nat"'],
    [{ 'bridge.mtu': 'big' }, 'option "bridge.mtu"'],
    [{ 'bridge.mtu': '10' }, 'option "bridge.mtu"'],
    [{ 'bridge.external_interfaces': 'eth0;rm' }, 'option "bridge.external_interfaces"'],
    [{ 'dns.domain': 'a b' }, 'option "dns.domain"'],
    [{ 'dns.domain': 'a/b' }, 'option "dns.domain"'],
    [{ 'dns.mode': 'sometimes' }, 'option "dns.mode"'],
  ])('%j', (config, text) => {
    expect(checkNetworkConfig('br0', config)).toContain(text);
  });
});

describe('defaults', () => {
  it('make absent addresses automatic, with NAT', () => {
    expect(withNetworkDefaults({ 'ipv6.address': 'none' })).toEqual({
      'ipv4.address': 'auto',
      'ipv4.nat': 'true',
      'ipv6.address': 'none',
    });
  });

  it('leave what was said alone', () => {
    const config = { 'ipv4.address': '10.0.0.1/24', 'ipv6.address': 'auto', 'ipv6.nat': 'false' };
    expect(withNetworkDefaults(config)).toEqual(config);
  });
});

it('a member’s address stands in for auto only', () => {
  const member = { 'ipv4.address': '10.9.9.1/24', 'ipv6.address': 'fd42::1/64', 'bridge.external_interfaces': 'eth1' };
  expect(mergeNetworkConfig({ 'ipv4.address': 'auto', 'ipv6.address': 'none' }, member)).toEqual({
    'ipv4.address': '10.9.9.1/24',
    'ipv6.address': 'none',
    'bridge.external_interfaces': 'eth1',
  });
});
