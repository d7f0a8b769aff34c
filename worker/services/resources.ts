/** `GET /1.0/resources`: a member's hardware as its agent reported it, in LXD's shape. What agents do not report is empty. */
import { unavailable } from '#protocol/errors.ts';
import { getMember, listMembers, type MemberRow } from '#worker/state/members.ts';
import type { Authorized } from './context.ts';

/** Of `?target=`, the local socket's member, or the first that is online. Throws 404 for an unknown target. */
export async function describeResources(ctx: Authorized, target: string | null) {
  const member = await pickMember(ctx, target);
  const presence = await ctx.objects.links.presence();
  const load = presence.find((entry) => entry.member === member.name)?.load ?? null;
  return toResources(member, load === null ? 0 : load.memoryTotalBytes - load.memoryAvailableBytes);
}

async function pickMember(ctx: Authorized, target: string | null): Promise<MemberRow> {
  const name = target === null || target.startsWith('@') ? ctx.principal.member : target;
  if (name !== null) return getMember(ctx.db, name);
  const members = await listMembers(ctx.db);
  const member = members.find(({ online }) => online) ?? members.at(0);
  if (member === undefined) throw unavailable('The cluster has no members yet');
  return member;
}

function toResources({ resources: host }: MemberRow, memoryUsed: number) {
  const cards = host.interfaces
    .filter(({ type }) => type === 'physical')
    .map(({ name, hwaddr }) => ({
      driver: '',
      driver_version: '',
      ports: [
        { id: name, address: hwaddr, port: 0, protocol: 'ethernet', auto_negotiation: false, link_detected: true },
      ],
      numa_node: 0,
    }));
  const threads = Array.from({ length: host.cpuCount }, (_, id) => ({
    core: id,
    die: 0,
    threads: [{ id, numa_node: 0, thread: 0, online: true, isolated: false }],
  }));
  return {
    cpu: {
      architecture: host.architecture,
      sockets: [{ name: '', vendor: '', socket: 0, cache: [], cores: threads }],
      total: host.cpuCount,
    },
    memory: {
      nodes: [],
      hugepages_total: 0,
      hugepages_used: 0,
      hugepages_size: 0,
      used: memoryUsed,
      total: host.memoryTotalBytes,
    },
    gpu: { cards: [], total: 0 },
    network: { cards, total: cards.length },
    storage: { disks: [], total: 0 },
    usb: { devices: [], total: 0 },
    pci: { devices: [], total: 0 },
    system: { uuid: '', vendor: '', product: '', family: '', version: '', sku: '', serial: '', type: 'unknown' },
  };
}
