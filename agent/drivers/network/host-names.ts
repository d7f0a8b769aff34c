/**
 * Names of instances for the host itself. A host whose resolver is `/etc/resolv.conf` gets a dnsmasq of its own on a loopback
 * address, named first there; it forwards everything else to the servers named after it, so a resolver that is there stays in
 * use, also when this dnsmasq is down. With systemd-resolved each bridge's dnsmasq is that link's server for its domain.
 * An `/etc/resolv.conf` that some other program manages (a symbolic link) is left alone.
 */
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, unwatchFile, watchFile, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../log.ts';
import type { Exec } from '../../system/exec.ts';
import type { BridgeConfig } from './config.ts';
import { dnsmasqUser, reloadDnsmasq, runDnsmasq, stopDnsmasq } from './dnsmasq.ts';
import { putFile } from './host-files.ts';
import { DEFAULT_DOMAIN, hostsText, type NameEntry } from './names.ts';

/** Of its own in 127.0.0.0/8: systemd-resolved has .53 and .54, other resolvers .1. */
export const NAME_SERVER = '127.0.0.55';
const RESOLV_CONF = '/etc/resolv.conf';
/** One look at a file's time. */
const LOOK_MS = 2_000;
const RESOLVED_DIRECTORY = '/run/systemd/resolve';
const MARK = '# Longshore answers names of instances and asks the servers below for all others:';
const SERVER_LINE = `nameserver ${NAME_SERVER}`;

export interface HostNamesDeps {
  exec: Exec;
  dataDir: string;
  runDir: string;
  log: Log;
}

export interface HostNames {
  /** Makes the host resolve exactly these. What cannot be is logged: the instances do not depend on it. */
  serve(entries: readonly NameEntry[]): Promise<void>;
  /** systemd-resolved asks the bridge for its domain; nothing where that does not run. */
  announceBridge(config: BridgeConfig): Promise<void>;
  /** The host's resolver is as it was before. */
  withdraw(): Promise<void>;
}

/** `resolv.conf` with our server named first. Pure; repeating it changes nothing. */
export function withNameServer(text: string): string {
  const first = text.split('\n').find((line) => /^\s*nameserver\s/.test(line));
  return first?.trim() === SERVER_LINE ? text : `${MARK}\n${SERVER_LINE}\n${withoutNameServer(text)}`;
}

/** `resolv.conf` without it. Pure. */
export const withoutNameServer = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line !== MARK && line.trim() !== SERVER_LINE)
    .join('\n');

/** The other servers that it names, as a file for a dnsmasq that must not ask itself. Pure. */
export const upstreamServers = (text: string): string =>
  withoutNameServer(text)
    .split('\n')
    .filter((line) => /^\s*nameserver\s/.test(line))
    .map((line) => `${line.trim()}\n`)
    .join('');

/** Only a file of the host's own is edited. */
const isOurs = () => existsSync(RESOLV_CONF) && lstatSync(RESOLV_CONF).isFile();

/** In place: it may be mounted over. */
function editResolvConf(edit: (text: string) => string): void {
  const text = readFileSync(RESOLV_CONF, 'utf8');
  const edited = edit(text);
  if (edited !== text) writeFileSync(RESOLV_CONF, edited);
}

/** Touches nothing before the first call. */
export function createHostNames({ exec, dataDir, runDir, log }: HostNamesDeps): HostNames {
  const directory = join(dataDir, 'names');
  const hosts = join(directory, 'hosts');
  const upstream = join(directory, 'upstream.conf');
  const paths = { pidFile: join(runDir, 'names.dnsmasq.pid') };
  const hasResolved = () => existsSync(RESOLVED_DIRECTORY);
  let tail: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    tail = tail.then(work).catch((err) => log.warn('names.host.failed', { err }));
    return tail;
  };

  const serverArguments = (domains: readonly string[], user: string): string[] => [
    '--conf-file=',
    '--bind-interfaces',
    `--listen-address=${NAME_SERVER}`,
    `--pid-file=${paths.pidFile}`,
    '--no-hosts',
    '--no-negcache',
    '--strict-order',
    `--resolv-file=${upstream}`,
    `--hostsdir=${hosts}`,
    ...domains.flatMap((domain) => ['-S', `/${domain}/`]),
    ...['-u', user, '-g', user === 'root' ? 'root' : 'nogroup'],
  ];

  let served: readonly NameEntry[] = [];
  let isWatching = false;
  /** A DHCP client, for one, writes the file anew. */
  const watchResolvConf = (serve: HostNames['serve']) => {
    if (isWatching) return;
    isWatching = true;
    watchFile(RESOLV_CONF, { interval: LOOK_MS, persistent: false }, () => void serve(served));
  };
  const serve: HostNames['serve'] = (entries) =>
    inTurn(async () => {
      served = entries;
      if (hasResolved() || !isOurs()) return;
      if (entries.length === 0 && !existsSync(hosts)) return;
      for (const path of [directory, hosts]) mkdirSync(path, { recursive: true, mode: 0o755 });
      const changed = putFile(join(hosts, 'cluster'), hostsText(entries), join(directory, 'cluster.tmp'));
      putFile(upstream, upstreamServers(readFileSync(RESOLV_CONF, 'utf8')), join(directory, 'upstream.tmp'));
      const domains = [...new Set([DEFAULT_DOMAIN, ...entries.map(({ domain }) => domain)])].sort();
      await runDnsmasq(exec, serverArguments(domains, dnsmasqUser(hosts)), paths);
      if (changed) reloadDnsmasq(paths);
      editResolvConf(withNameServer);
      watchResolvConf(serve);
    });

  return {
    serve,
    announceBridge: (config) =>
      inTurn(async () => {
        const servers = [config.ipv4, config.ipv6].flatMap((family) => (family ? [family.subnet.gateway] : []));
        if (!hasResolved() || servers.length === 0 || config.dnsMode === 'none') return;
        await exec('resolvectl', ['dns', config.name, ...servers]);
        await exec('resolvectl', ['domain', config.name, config.dnsDomain]);
        await exec('resolvectl', ['default-route', config.name, 'no']);
      }),
    withdraw: () =>
      inTurn(async () => {
        if (!existsSync(directory)) return;
        unwatchFile(RESOLV_CONF);
        isWatching = false;
        if (isOurs()) editResolvConf(withoutNameServer);
        await stopDnsmasq(paths);
        rmSync(directory, { recursive: true, force: true });
      }),
  };
}
