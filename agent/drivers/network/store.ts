/**
 * What the driver keeps on disk: `<dataDir>/networks/<name>/network.json` (the network as last asked for, and the bridge's
 * MAC) and `reservations.json`. Both are replaced in one step, so a crash leaves the old or the new one.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errorCode, listDirectory } from '#agent/system/fs.ts';
import { NetworkSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { checkNetworkName } from '#protocol/names.ts';

const StoredNetwork = z.object({ network: NetworkSpec, hwaddr: z.string() });
export type StoredNetwork = z.infer<typeof StoredNetwork>;

const Reservation = z.object({
  instance: z.string(),
  device: z.string(),
  hwaddr: z.string(),
  ipv4: z.string().nullable(),
  ipv6: z.string().nullable(),
  /** The user fixed the address: `lxc network list-leases` says STATIC. */
  fixed: z.boolean(),
});
export type Reservation = z.infer<typeof Reservation>;

export interface NetworkPaths {
  dir: string;
  network: string;
  reservations: string;
  hosts: string;
  leases: string;
}

/** Throws `bad_request` for a name that could leave the directory or be an option. */
export function networkPaths(dataDir: string, name: string): NetworkPaths {
  const refusal = checkNetworkName(name);
  if (refusal !== null) throw badRequest(refusal);
  const dir = join(dataDir, 'networks', name);
  return {
    dir,
    network: join(dir, 'network.json'),
    reservations: join(dir, 'reservations.json'),
    hosts: join(dir, 'hosts'),
    leases: join(dir, 'dnsmasq.leases'),
  };
}

/** The network as stored, or null. A damaged file is an error, not an absent network. */
export async function findNetwork(paths: NetworkPaths): Promise<StoredNetwork | null> {
  const text = await readText(paths.network);
  return text === null ? null : StoredNetwork.parse(JSON.parse(text));
}

export async function saveNetwork(paths: NetworkPaths, stored: StoredNetwork): Promise<void> {
  // dnsmasq reads its hosts and writes its leases without root's rights.
  await mkdir(paths.hosts, { recursive: true, mode: 0o755 });
  await replaceFile(paths.network, JSON.stringify(stored));
}

export async function readReservations(paths: NetworkPaths): Promise<Reservation[]> {
  const text = await readText(paths.reservations);
  return text === null ? [] : z.array(Reservation).parse(JSON.parse(text));
}

export const saveReservations = (paths: NetworkPaths, reservations: readonly Reservation[]): Promise<void> =>
  replaceFile(paths.reservations, JSON.stringify(reservations));

/** Names of all networks that this driver made on the host. */
export async function listNetworks(dataDir: string): Promise<string[]> {
  const names = await listDirectory(join(dataDir, 'networks'));
  return names.filter((name) => checkNetworkName(name) === null).sort();
}

export const forgetNetwork = (paths: NetworkPaths): Promise<void> => rm(paths.dir, { recursive: true, force: true });

/** The file's text, or null when it is not there. */
export async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

export async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o644 });
  await rename(`${path}.new`, path);
}
