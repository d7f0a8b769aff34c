/** The bridge interface itself, by `ip`. */
import { writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { type Exec, ExecError } from '#agent/system/exec.ts';
import type { Cidr } from './subnets.ts';

const Counters = z.object({ bytes: z.number(), packets: z.number() });
const AddressInfo = z.object({ family: z.string(), local: z.string(), prefixlen: z.number(), scope: z.string() });
const Link = z.object({
  ifname: z.string(),
  address: z.string().optional(),
  mtu: z.number(),
  operstate: z.string(),
  flags: z.array(z.string()),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z
        .object({
          forward_delay: z.number().optional(),
          stp_state: z.number().optional(),
          bridge_id: z.string().optional(),
          vlan_default_pvid: z.number().optional(),
          vlan_filtering: z.number().optional(),
        })
        .optional(),
    })
    .optional(),
  addr_info: z.array(AddressInfo.or(z.object({}).transform(() => null))).default([]),
  stats64: z.object({ rx: Counters, tx: Counters }).optional(),
});
export type Link = z.infer<typeof Link>;

/** The interface, or null when the host has none of that name. */
export async function findLink(exec: Exec, name: string): Promise<Link | null> {
  try {
    const { stdout } = await exec('ip', ['-j', '-s', '-d', 'addr', 'show', 'dev', name]);
    return z.array(Link).parse(JSON.parse(stdout))[0] ?? null;
  } catch (error) {
    if (error instanceof ExecError && /does not exist/.test(error.stderr)) return null;
    throw error;
  }
}

/** Subnets that the host's routes and addresses use, other than those of `except`. */
export async function listSubnets(exec: Exec, except: string): Promise<string[]> {
  const Routes = z.array(z.object({ dst: z.string(), dev: z.string().optional() }));
  const { stdout } = await exec('ip', ['-j', '-4', 'route', 'show', 'table', 'main']);
  return Routes.parse(JSON.parse(stdout || '[]')).flatMap(({ dst, dev }) => {
    if (dst === 'default' || dev === except) return [];
    return [dst.includes('/') ? dst : `${dst}/32`];
  });
}

export interface BridgePlan {
  name: string;
  hwaddr: string;
  mtu: number;
  ipv4: Cidr | null;
  ipv6: Cidr | null;
  externalInterfaces: string[];
}

const withPrefix = (cidr: Cidr) => `${cidr.address}/${cidr.prefix}`;

/** Makes the bridge, or brings an existing one of ours to what is asked. */
export async function ensureBridge(exec: Exec, plan: BridgePlan, existing: Link | null): Promise<void> {
  const { name } = plan;
  const wanted = [plan.ipv4, plan.ipv6].flatMap((cidr) => (cidr === null ? [] : [withPrefix(cidr)]));
  const present = (existing?.addr_info ?? []).flatMap((info) =>
    info !== null && 'local' in info && info.scope === 'global' ? [`${info.local}/${info.prefixlen}`] : [],
  );
  const lines = existing === null ? [`link add name ${name} address ${plan.hwaddr} type bridge`] : [];
  lines.push(`link set dev ${name} mtu ${plan.mtu} up`);
  for (const address of present) if (!wanted.includes(address)) lines.push(`addr del ${address} dev ${name}`);
  for (const address of wanted) if (!present.includes(address)) lines.push(`addr add ${address} dev ${name}`);
  for (const device of plan.externalInterfaces) lines.push(`link set dev ${device} master ${name} up`);
  await exec('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  await allowForwarding(plan);
}

async function allowForwarding({ name, ipv4, ipv6 }: BridgePlan): Promise<void> {
  if (ipv4 !== null) await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
  if (ipv6 === null) return;
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/autoconf`, '0');
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/accept_dad`, '0');
  await writeFile('/proc/sys/net/ipv6/conf/all/forwarding', '1');
}

/** Absent is fine. */
export async function deleteBridge(exec: Exec, name: string): Promise<void> {
  if ((await findLink(exec, name)) !== null) await exec('ip', ['link', 'del', 'dev', name]);
}

/** LXD's network state object (lxd-api 5.6). */
export function linkState(link: Link): Record<string, unknown> {
  const data = link.linkinfo?.info_data;
  const family = (name: string) => (name === 'inet6' ? 'inet6' : 'inet');
  return {
    addresses: link.addr_info.flatMap((info) =>
      info === null || !('local' in info)
        ? []
        : [{ family: family(info.family), address: info.local, netmask: String(info.prefixlen), scope: info.scope }],
    ),
    counters: {
      bytes_received: link.stats64?.rx.bytes ?? 0,
      bytes_sent: link.stats64?.tx.bytes ?? 0,
      packets_received: link.stats64?.rx.packets ?? 0,
      packets_sent: link.stats64?.tx.packets ?? 0,
    },
    hwaddr: link.address ?? '',
    mtu: link.mtu,
    state: link.flags.includes('UP') ? 'up' : 'down',
    type: link.flags.includes('LOOPBACK') ? 'loopback' : 'broadcast',
    bond: null,
    bridge:
      link.linkinfo?.info_kind === 'bridge'
        ? {
            id: data?.bridge_id ?? '',
            stp: (data?.stp_state ?? 0) !== 0,
            forward_delay: data?.forward_delay ?? 1500,
            vlan_default: data?.vlan_default_pvid ?? 1,
            vlan_filtering: (data?.vlan_filtering ?? 0) !== 0,
            upper_devices: [],
          }
        : null,
    vlan: null,
    ovn: null,
  };
}
