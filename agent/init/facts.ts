/** What the dialogue offers as defaults and checks answers against, read from the host. */
import { existsSync, statfsSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { HostResources } from '#protocol/inventory.ts';
import type { WizardFacts } from './wizard.ts';

const MAGIC: Record<number, string> = { 2435016766: 'btrfs', 801189825: 'zfs' };

export interface FactsInput {
  dataDir: string;
  resources: HostResources;
  pools: readonly string[];
  networks: readonly string[];
  joined: boolean;
  token: string | null;
}

/** Looks only at the host; what the cluster has is the caller's to know. */
export function readFacts({ dataDir, resources, pools, networks, joined, token }: FactsInput): WizardFacts {
  const place = existingAncestor(dataDir);
  const { type, bsize, blocks } = statfsSync(place);
  return {
    hostname: hostname().split('.')[0] ?? '',
    address: resources.addresses[0] ?? '127.0.0.1',
    storageDrivers: resources.storageDrivers.map(({ name }) => name),
    backingFileSystem: MAGIC[type >>> 0] ?? '',
    diskBytes: bsize * blocks,
    dataDir,
    pools: new Set(pools),
    networks: new Set(networks),
    findInterface: (name) => {
      if (!/^[A-Za-z0-9_.:-]{1,15}$/.test(name) || !existsSync(join('/sys/class/net', name))) return null;
      return existsSync(join('/sys/class/net', name, 'bridge')) ? 'bridge' : 'other';
    },
    isBlockDevice: (path) => statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true,
    joined,
    token,
  };
}

function existingAncestor(path: string): string {
  return path === '/' || existsSync(path) ? path : existingAncestor(join(path, '..'));
}
