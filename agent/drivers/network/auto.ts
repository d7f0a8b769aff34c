/** Filling in what a network leaves to the host: `auto` addresses and LXD's defaults. */
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { failed } from '#protocol/errors.ts';
import { cidr, overlaps, parseSubnet, type Subnet } from './subnet.ts';

type Config = Record<string, string>;

/** Enough draws to find one of 65536 networks unless nearly all are in use. */
const DRAWS = 200;

const drawIpv4 = () => `10.${randomInt(0, 256)}.${randomInt(0, 256)}.1/24`;
const drawIpv6 = () => `fd42:${[0, 2, 4].map((at) => randomBytes(6).readUInt16BE(at).toString(16)).join(':')}::1/64`;

function choose(preferred: string | null, draw: () => string, used: Subnet[]): string {
  for (let count = 0; count <= DRAWS; count++) {
    const subnet = parseSubnet(count === 0 && preferred !== null ? preferred : draw());
    if (subnet && !used.some((other) => overlaps(other, subnet))) return cidr(subnet);
  }
  throw failed('Failed generating auto config: no free subnet on this host');
}

/** True when `create` must know what subnets are in use. */
export const needsChoice = (config: Config): boolean =>
  ['ipv4.address', 'ipv6.address'].some((key) => ['', 'auto'].includes(config[key] ?? ''));

/** The keys to set. Absent addresses are `auto`, and a picked network is NATed, as in LXD. Throws `failed` when none is free. */
export function decideAddresses(
  config: Config,
  preferred: { ipv4: string | null; ipv6: string | null },
  used: Subnet[],
): Config {
  const decided: Config = {};
  for (const version of ['ipv4', 'ipv6'] as const) {
    const key = `${version}.address`;
    if (!['', 'auto'].includes(config[key] ?? '')) continue;
    if (version === 'ipv6' && !existsSync('/proc/sys/net/ipv6')) {
      decided[key] = 'none';
      continue;
    }
    decided[key] = choose(preferred[version], version === 'ipv4' ? drawIpv4 : drawIpv6, used);
    if ((config[`${version}.nat`] ?? '') === '') decided[`${version}.nat`] = 'true';
  }
  return decided;
}
