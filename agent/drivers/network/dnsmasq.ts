/** DHCP and DNS of one bridge: its dnsmasq's arguments, and the process itself, which outlives the agent. */
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import type { Exec } from '#agent/system/exec.ts';
import { isTrue } from '#protocol/units.ts';
import type { NetworkPaths } from './store.ts';
import { type Cidr, defaultDhcpRange } from './subnets.ts';

/** Time a dnsmasq gets to end before it is killed. */
const STOP_LIMIT_MS = 2_000;

export interface DnsmasqPlan {
  name: string;
  config: Record<string, string>;
  ipv4: Cidr | null;
  ipv6: Cidr | null;
  mtu: number;
}

/** `key first-last,first-last` as dnsmasq wants them. */
function ranges(config: Record<string, string>, key: string, fallback: { first: string; last: string }) {
  const listed = config[key]?.split(',').map((range) => range.trim().split('-')) ?? [];
  if (listed.length === 0) return [fallback];
  return listed.map(([first = fallback.first, last = fallback.last]) => ({ first, last }));
}

/** The arguments (host-facts section 8 says why each); null when the network serves neither DHCP nor DNS. */
export function dnsmasqArgs(plan: DnsmasqPlan, paths: NetworkPaths, pidFile: string): string[] | null {
  const { name, config, ipv4, ipv6, mtu } = plan;
  const dnsMode = config['dns.mode'] ?? 'managed';
  const dhcp4 = ipv4 !== null && isTrue(config['ipv4.dhcp'] ?? 'true');
  const dhcp6 = ipv6 !== null && isTrue(config['ipv6.dhcp'] ?? 'true');
  if ((ipv4 === null && ipv6 === null) || (dnsMode === 'none' && !dhcp4 && !dhcp6)) return null;
  const domain = config['dns.domain'] ?? 'lxd';
  const args = ['--conf-file=/dev/null', '--strict-order', '--bind-interfaces', '--except-interface=lo'];
  args.push(`--interface=${name}`, `--pid-file=${pidFile}`, '--no-negcache', '--no-ping', '--dhcp-no-override');
  args.push(
    '--dhcp-authoritative',
    '--dhcp-rapid-commit',
    '--dhcp-ignore-clid',
    '--quiet-dhcp',
    '--quiet-dhcp6',
    '--quiet-ra',
  );
  args.push(`--dhcp-leasefile=${paths.leases}`, `--dhcp-hostsdir=${paths.hosts}`, `--dhcp-option-force=26,${mtu}`);
  if (ipv4 !== null) args.push(`--listen-address=${ipv4.address}`);
  if (ipv6 !== null) args.push(`--listen-address=${ipv6.address}`, '--enable-ra');
  if (dhcp4 && ipv4 !== null) {
    const expiry = config['ipv4.dhcp.expiry'] ?? '1h';
    for (const { first, last } of ranges(config, 'ipv4.dhcp.ranges', defaultDhcpRange(ipv4))) {
      args.push(`--dhcp-range=${first},${last},${expiry}`);
    }
    const gateway = config['ipv4.dhcp.gateway'];
    if (gateway !== undefined && gateway !== '') args.push(`--dhcp-option-force=3,${gateway}`);
  }
  if (ipv6 !== null) {
    const stateful = dhcp6 && isTrue(config['ipv6.dhcp.stateful']);
    args.push(
      stateful
        ? `--dhcp-range=::,constructor:${name},${config['ipv6.dhcp.expiry'] ?? '1h'}`
        : `--dhcp-range=::,constructor:${name},ra-stateless,ra-names`,
    );
  }
  const search = config['dns.search'];
  if (search !== undefined && search !== '') args.push(`--dhcp-option-force=119,${search.replaceAll(' ', '')}`);
  if (dnsMode !== 'none') args.push('-s', domain, `--interface-name=_gateway.${domain},${name}`, '-S', `/${domain}/`);
  else args.push('--port=0');
  return [...args, '-u', 'nobody', '-g', 'nogroup'];
}

/** The pid of the dnsmasq that `pidFile` names, if it is still one of this network; null otherwise. */
async function findProcess(pidFile: string, paths: NetworkPaths): Promise<{ pid: number; args: string[] } | null> {
  const text = await readFile(pidFile, 'utf8').catch(() => '');
  const pid = Number(text.trim());
  if (!Number.isInteger(pid) || pid <= 1) return null;
  const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').slice(0, -1);
  // Pids are used again: the lease file's path is what makes it ours.
  return args.includes(`--dhcp-leasefile=${paths.leases}`) ? { pid, args: args.slice(1) } : null;
}

/** Runs dnsmasq with exactly `args`: adopts one that does, replaces one that does not, ends it for null. */
export async function ensureDnsmasq(
  exec: Exec,
  args: string[] | null,
  paths: NetworkPaths,
  pidFile: string,
): Promise<void> {
  const running = await findProcess(pidFile, paths);
  if (running !== null && args !== null && running.args.join('\0') === args.join('\0')) return;
  if (running !== null) await stopProcess(running.pid);
  if (args === null) return;
  await rm(pidFile, { force: true });
  // It goes to the background by itself once it listens, and stays when the agent ends.
  await exec('dnsmasq', args);
}

export async function stopDnsmasq(paths: NetworkPaths, pidFile: string): Promise<void> {
  const running = await findProcess(pidFile, paths);
  if (running !== null) await stopProcess(running.pid);
  await rm(pidFile, { force: true });
}

/** New and changed host files are read at once; a removed one only after this. */
export async function reloadDnsmasq(paths: NetworkPaths, pidFile: string): Promise<void> {
  const running = await findProcess(pidFile, paths);
  if (running !== null) process.kill(running.pid, 'SIGHUP');
}

async function stopProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGTERM');
  const deadline = Date.now() + STOP_LIMIT_MS;
  while (existsSync(`/proc/${pid}`)) {
    if (Date.now() > deadline) {
      process.kill(pid, 'SIGKILL');
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
