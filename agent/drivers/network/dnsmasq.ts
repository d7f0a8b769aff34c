/** One dnsmasq per network: DHCP, router advertisements and DNS. It runs on while the agent is away, and is adopted after. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { failed } from '#protocol/errors.ts';
import type { Exec } from '../../system/exec.ts';
import { commandLine, readProc, sendSignal, waitUntil, zombieStatus } from '../../system/proc.ts';
import type { BridgeConfig } from './config.ts';
import type { NetworkPaths } from './store.ts';
import { hostRange } from './subnet.ts';

const SIGHUP = 1;
const SIGTERM = 15;
const SIGKILL = 9;
const STOP_TIMEOUT_MS = 2000;

/** The arguments, LXD's choice; without `--keep-in-foreground`, so the start has ended when its sockets are bound. */
export function dnsmasqArguments(config: BridgeConfig, paths: NetworkPaths, user: string): string[] {
  const { name, ipv4, ipv6 } = config;
  const args = [
    '--strict-order',
    '--bind-interfaces',
    '--except-interface=lo',
    `--pid-file=${paths.pidFile}`,
    '--no-ping',
    `--interface=${name}`,
    '--no-negcache',
    '--dhcp-rapid-commit',
    '--dhcp-ignore-clid',
    '--dhcp-no-override',
    '--dhcp-authoritative',
    '--quiet-dhcp',
    '--quiet-dhcp6',
    '--quiet-ra',
    `--dhcp-leasefile=${paths.leases}`,
    `--dhcp-hostsdir=${paths.hosts}`,
    '--conf-file=',
  ];
  if (ipv4) {
    args.push(`--listen-address=${ipv4.subnet.gateway}`, `--dhcp-option-force=26,${config.mtu}`);
    const all = hostRange(ipv4.subnet);
    const ranges = ipv4.ranges.length > 0 ? ipv4.ranges : [{ start: all.first, end: all.last }];
    if (ipv4.dhcp) for (const { start, end } of ranges) args.push('--dhcp-range', `${start},${end},${ipv4.expiry}`);
    if (ipv4.gateway !== ipv4.subnet.gateway) args.push(`--dhcp-option-force=3,${ipv4.gateway}`);
    if (config.dnsSearch.length > 0) args.push(`--dhcp-option-force=119,${config.dnsSearch.join(',')}`);
  }
  if (ipv6) {
    args.push(`--listen-address=${ipv6.subnet.gateway}`, '--enable-ra');
    if (ipv6.dhcp && ipv6.stateful) {
      const all = hostRange(ipv6.subnet);
      const ranges = ipv6.ranges.length > 0 ? ipv6.ranges : [{ start: all.first, end: all.last }];
      for (const { start, end } of ranges) {
        args.push('--dhcp-range', `${start},${end},${ipv6.subnet.prefixLength},${ipv6.expiry}`);
      }
    } else {
      args.push('--dhcp-range', `::,constructor:${name},${ipv6.dhcp ? 'ra-stateless,ra-names' : 'ra-only'}`);
    }
  }
  if (config.dnsMode !== 'none') {
    const domain = config.dnsDomain;
    args.push('-s', domain, '--interface-name', `_gateway.${domain},${name}`, '-S', `/${domain}/`);
    args.push(`--hostsdir=${paths.names}`);
  }
  args.push('-u', user, '-g', user === 'root' ? 'root' : 'nogroup');
  return args;
}

/** The user that dnsmasq gives its rights up for: it must still get to the reservations, which it reads as they change. */
export function dnsmasqUser(hostsDir: string): string {
  for (let path = hostsDir; ; path = dirname(path)) {
    if ((statSync(path).mode & 0o001) === 0) return 'root';
    if (path === dirname(path)) break;
  }
  return /^dnsmasq:/m.test(readFileSync('/etc/passwd', 'utf8')) ? 'dnsmasq' : 'nobody';
}

/** The running dnsmasq of a network with its arguments; null when there is none. */
export function findDnsmasq(paths: { pidFile: string }): { pid: number; args: string[] } | null {
  if (!existsSync(paths.pidFile)) return null;
  const pid = Number(readFileSync(paths.pidFile, 'utf8').trim());
  const [file, ...args] = (pid > 0 ? commandLine(pid) : null) ?? [];
  const isOurs = file?.endsWith('dnsmasq') && args.includes(`--pid-file=${paths.pidFile}`);
  return isOurs ? { pid, args } : null;
}

/** Ends it; absent is fine. */
export async function stopDnsmasq(paths: { pidFile: string }): Promise<void> {
  const running = findDnsmasq(paths);
  if (running !== null) {
    // A process loses its arguments before its sockets, and the next one needs their addresses.
    const isGone = () => readProc(running.pid, 'stat') === null || zombieStatus(running.pid) !== null;
    sendSignal(running.pid, SIGTERM);
    if (!(await waitUntil(isGone, { timeoutMs: STOP_TIMEOUT_MS }))) {
      sendSignal(running.pid, SIGKILL);
      await waitUntil(isGone, { timeoutMs: STOP_TIMEOUT_MS });
    }
  }
  rmSync(paths.pidFile, { force: true });
}

/** Makes a dnsmasq with exactly these arguments run; with null, none. Throws what dnsmasq says. */
export async function runDnsmasq(exec: Exec, wanted: string[] | null, paths: { pidFile: string }): Promise<void> {
  const running = findDnsmasq(paths);
  if (running !== null && wanted !== null && running.args.join('\0') === wanted.join('\0')) return;
  await stopDnsmasq(paths);
  if (wanted === null) return;
  // Gone with the last boot.
  mkdirSync(dirname(paths.pidFile), { recursive: true, mode: 0o755 });
  await exec('dnsmasq', wanted);
}

/** The network's dnsmasq as configured, or none when it has no addresses. */
export async function ensureDnsmasq(exec: Exec, config: BridgeConfig, paths: NetworkPaths): Promise<void> {
  const wanted = config.ipv4 || config.ipv6 ? dnsmasqArguments(config, paths, dnsmasqUser(paths.hosts)) : null;
  try {
    await runDnsmasq(exec, wanted, paths);
  } catch (error) {
    throw failed(`Failed starting DHCP and DNS of network "${config.name}"`, error);
  }
}

/** Files that went away or changed are taken note of by every version of dnsmasq only when it is told. */
export function reloadDnsmasq(paths: { pidFile: string }): void {
  const running = findDnsmasq(paths);
  if (running !== null) sendSignal(running.pid, SIGHUP);
}
