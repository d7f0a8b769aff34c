/** The files that tell dnsmasq of one NIC, or of names from elsewhere. It reads its directories as files change. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BridgeConfig } from './config.ts';
import { hostFileName, hostLine, nameLines } from './reservations.ts';
import type { NetworkPaths, Reservation } from './store.ts';

/** Beside the files of NICs, whose names all have a dot. */
const CLUSTER_FILE = 'cluster';

/** Makes the file hold `text`, or be gone; a new one comes in by rename from `draft`, whole. False: it was so already. */
export function putFile(path: string, text: string | null, draft: string): boolean {
  const current = existsSync(path) ? readFileSync(path, 'utf8') : null;
  if (current === text) return false;
  if (text === null) {
    rmSync(path, { force: true });
  } else {
    writeFileSync(draft, text, { mode: 0o644 });
    renameSync(draft, path);
  }
  return true;
}

/** The NIC's reservation and names. */
export function writeHostFiles(paths: NetworkPaths, config: BridgeConfig, nic: Reservation): void {
  const file = hostFileName(nic);
  const draft = join(paths.directory, 'host.tmp');
  putFile(join(paths.hosts, file), hostLine(config, nic), draft);
  putFile(join(paths.names, file), nameLines(config, nic), draft);
}

export function removeHostFiles(paths: NetworkPaths, nic: Reservation): void {
  for (const directory of [paths.hosts, paths.names]) rmSync(join(directory, hostFileName(nic)), { force: true });
}

/** Names from other networks and hosts. True when dnsmasq must forget something it knew. */
export function writeClusterNames(paths: NetworkPaths, text: string): boolean {
  const path = join(paths.names, CLUSTER_FILE);
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
  if (!putFile(path, text === '' ? null : text, join(paths.directory, 'cluster.tmp'))) return false;
  const kept = new Set(text.split('\n'));
  return before.split('\n').some((line) => !kept.has(line));
}
