import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pickForMembers, pickIpv4, pickIpv6 } from '#worker/domain/subnets.ts';

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,14}$/);
const members = fc.uniqueArray(name, { minLength: 1, maxLength: 30 });

describe('automatic subnets', () => {
  it('never overlap between members, nor with what is taken', () => {
    const taken = fc.array(
      fc
        .tuple(fc.nat(255), fc.nat(255), fc.integer({ min: 9, max: 32 }))
        .map(([x, y, bits]) => `10.${x}.${y}.1/${bits}`),
      { maxLength: 10 },
    );
    fc.assert(
      fc.property(name, members, taken, (network, hosts, used) => {
        const picks = [...pickForMembers(network, hosts, used).values()];
        expect(picks).toHaveLength(hosts.length);
        const v4 = picks.flatMap(({ ipv4 }) => ipv4 ?? []);
        expect(new Set(v4).size).toBe(v4.length);
        expect(new Set(picks.map(({ ipv6 }) => ipv6)).size).toBe(picks.length);
        for (const subnet of v4)
          for (const other of used) expect(overlap(subnet, other), `${subnet} ${other}`).toBe(false);
      }),
    );
  });

  it('are the same for the same question, whatever the order of the members', () => {
    fc.assert(
      fc.property(name, members, (network, hosts) => {
        const sorted = (map: Map<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(sorted(pickForMembers(network, hosts, []))).toEqual(
          sorted(pickForMembers(network, [...hosts].reverse(), [])),
        );
      }),
    );
  });

  it('are a host address of a /24 in 10.0.0.0/8 and of a ULA /64', () => {
    expect(pickIpv4('lxdbr0', 'node1', [])).toMatch(/^10\.\d+\.\d+\.1\/24$/);
    expect(pickIpv6('lxdbr0', 'node1', [])).toMatch(/^fd42:[0-9a-f]+:[0-9a-f]+:[0-9a-f]+::1\/64$/);
  });

  it('avoid the subnet of a host address, and tolerate addresses of the other family', () => {
    const first = pickIpv4('lxdbr0', 'node1', []) ?? '';
    const host = first.replace('.1/24', '.77');
    const second = pickIpv4('lxdbr0', 'node1', [host, 'fd42::1', 'nonsense']);
    expect(second).not.toBe(first);
    expect(second).not.toBeNull();
  });

  it('take the next prefix when a ULA is taken', () => {
    const first = pickIpv6('lxdbr0', 'node1', []);
    expect(pickIpv6('lxdbr0', 'node1', [first])).not.toBe(first);
  });

  it('are none when everything is taken', () => {
    expect(pickIpv4('lxdbr0', 'node1', ['10.0.0.0/8'])).toBeNull();
  });
});

function overlap(a: string, b: string): boolean {
  const range = (cidr: string) => {
    const [address = '', bits = '32'] = cidr.split('/');
    const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    const size = 2 ** (32 - Number(bits));
    const from = Math.floor(number / size) * size;
    return { from, to: from + size - 1 };
  };
  const [left, right] = [range(a), range(b)];
  return left.from <= right.to && right.from <= left.to;
}
