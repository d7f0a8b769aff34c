/** What this host keeps of its networks: the network as decided, its reservations, and dnsmasq's files. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NetworkSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { InstanceNames } from '#protocol/instance-names.ts';
import { checkNetworkName } from '#protocol/names.ts';

/** `network` has all its addresses decided. `bridgeHwaddr` keeps the bridge's address when ports come and go. */
const Stored = z.object({ network: NetworkSpec, bridgeHwaddr: z.string() });
export type StoredNetwork = z.infer<typeof Stored>;

const Reservation = z.object({
  instance: z.string(),
  device: z.string(),
  hwaddr: z.string(),
  ipv4: z.string().nullable(),
  ipv6: z.string().nullable(),
  /** The addresses were asked for, not picked. */
  fixedIpv4: z.boolean(),
  fixedIpv6: z.boolean(),
  /** Its instance is up, so DNS knows it. */
  named: z.boolean().default(true),
});
export type Reservation = z.infer<typeof Reservation>;

export interface NetworkPaths {
  directory: string;
  /** dnsmasq's `--dhcp-hostsdir`: one file per NIC. */
  hosts: string;
  /** dnsmasq's `--hostsdir`: names of NICs that never ask for a lease, their addresses being in the container's config. */
  names: string;
  leases: string;
  pidFile: string;
}

export interface NetworkStore {
  paths(name: string): NetworkPaths;
  list(): string[];
  find(name: string): StoredNetwork | null;
  write(stored: StoredNetwork): void;
  reservations(name: string): Reservation[];
  writeReservations(name: string, all: Reservation[]): void;
  /** Names of the cluster's instances as they were last told; empty on a new host. */
  names: { read(): InstanceNames[]; write(all: readonly InstanceNames[] | null): void };
  remove(name: string): void;
}

function writeAtomically(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** The networks' directories below `dataDir` and `runDir`. */
export function createNetworkStore(dirs: { dataDir: string; runDir: string }): NetworkStore {
  const root = join(dirs.dataDir, 'networks');
  const runRoot = join(dirs.runDir, 'networks');
  const paths = (name: string): NetworkPaths => {
    const refusal = checkNetworkName(name);
    if (refusal !== null) throw badRequest(refusal);
    const directory = join(root, name);
    return {
      directory,
      hosts: join(directory, 'dnsmasq.hosts'),
      names: join(directory, 'dnsmasq.names'),
      leases: join(directory, 'dnsmasq.leases'),
      pidFile: join(runRoot, `${name}.dnsmasq.pid`),
    };
  };
  const stateFile = (name: string) => join(paths(name).directory, 'network.json');
  const reservationsFile = (name: string) => join(paths(name).directory, 'reservations.json');
  const namesFile = join(dirs.dataDir, 'instance-names.json');
  const cache = new Map<string, Reservation[]>();
  return {
    paths,
    list: () => (existsSync(root) ? readdirSync(root).filter((name) => existsSync(stateFile(name))) : []),
    find: (name) =>
      existsSync(stateFile(name)) ? Stored.parse(JSON.parse(readFileSync(stateFile(name), 'utf8'))) : null,
    write: (stored) => {
      const { directory, hosts, names } = paths(stored.network.name);
      // dnsmasq goes through them under another user.
      for (const path of [root, directory, hosts, names]) mkdirSync(path, { recursive: true, mode: 0o755 });
      mkdirSync(runRoot, { recursive: true, mode: 0o755 });
      writeAtomically(stateFile(stored.network.name), JSON.stringify(stored));
    },
    reservations: (name) => {
      const known = cache.get(name);
      if (known) return known;
      const path = reservationsFile(name);
      const read = existsSync(path) ? z.array(Reservation).parse(JSON.parse(readFileSync(path, 'utf8'))) : [];
      cache.set(name, read);
      return read;
    },
    writeReservations: (name, all) => {
      writeAtomically(reservationsFile(name), JSON.stringify(all));
      cache.set(name, all);
    },
    names: {
      read: () =>
        existsSync(namesFile) ? z.array(InstanceNames).parse(JSON.parse(readFileSync(namesFile, 'utf8'))) : [],
      write: (all) => {
        if (all === null) return rmSync(namesFile, { force: true });
        mkdirSync(dirs.dataDir, { recursive: true, mode: 0o755 });
        writeAtomically(namesFile, JSON.stringify(all));
      },
    },
    remove: (name) => {
      cache.delete(name);
      rmSync(paths(name).directory, { recursive: true, force: true });
    },
  };
}
