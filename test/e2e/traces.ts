/** What an instance leaves on a host. */
import { cluster, lxc } from './support.ts';

/** The name comes by the environment, or the search would find itself. */
const SEARCH = `
echo "## datasets"; zfs list -H -o name -t all | grep -F -- "$NAME"
echo "## mounts"; grep -F -- "$NAME" /proc/self/mounts
echo "## cgroups"; find /sys/fs/cgroup -type d -name "*$NAME*"
echo "## processes"; all=$(ps -e -o args=); printf "%s\\n" "$all" | grep -F -- "$NAME"
echo "## files"; find /var/lib/longshore /run/longshore /var/log/longshore -name "*$NAME*" -not -path '*/rootfs/*'
echo "## told"; grep -rF --exclude-dir=dnsmasq.names -- "$NAME" /var/lib/longshore/networks
echo "## interfaces"; ip -o link | grep -c veth
true`;

export type Traces = Record<
  'datasets' | 'mounts' | 'cgroups' | 'processes' | 'files' | 'told' | 'interfaces' | 'leases',
  string[]
>;

/**
 * Every mention of `name` on the host: datasets, mounts, control groups, processes, files by name, files of DHCP and DNS by
 * content, leases as the API tells them. Interfaces have no such name: all are counted. The names of the whole cluster come and
 * go a moment later, on every host: they have tests of their own.
 */
export async function tracesOf(host: number, name: string): Promise<Traces> {
  const { stdout } = await cluster.host(host).exec(['sh', '-c', SEARCH], { env: { NAME: name } });
  const sections = stdout
    .split('## ')
    .slice(1)
    .map((section) => section.trim().split('\n'));
  const leases = (await lxc('network', 'list-leases', 'lxdbr0', '--format', 'csv')).stdout;
  return {
    ...(Object.fromEntries(sections.map(([head, ...lines]) => [head, lines.sort()])) as Omit<Traces, 'leases'>),
    leases: leases.split('\n').filter((line) => line.includes(name)),
  };
}
