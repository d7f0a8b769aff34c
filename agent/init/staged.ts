/** What stock clients asked of the agent of a host that is no member yet: kept as a preseed until the host becomes one. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../join/files.ts';
import { EMPTY_PRESEED, type Preseed, parsePreseed, renderPreseed } from './preseed.ts';

const pathOf = (dataDir: string) => join(dataDir, 'unjoined.yaml');

/** Nothing staged is an empty preseed. */
export const readStaged = (dataDir: string): Preseed =>
  existsSync(pathOf(dataDir)) ? parsePreseed(readFileSync(pathOf(dataDir), 'utf8')) : structuredClone(EMPTY_PRESEED);

/** Only root may read it: there may be a password in it. */
export const writeStaged = (dataDir: string, preseed: Preseed): void =>
  writeWhole(pathOf(dataDir), renderPreseed({ ...preseed, cluster: null }), 0o600);

export const dropStaged = (dataDir: string): void => rmSync(pathOf(dataDir), { force: true });

/** Both, the later one's word counting where they speak of the same thing. */
export function mergePreseeds(first: Preseed, second: Preseed): Preseed {
  return {
    config: { ...first.config, ...second.config },
    storage_pools: mergeNamed(first.storage_pools, second.storage_pools),
    networks: mergeNamed(first.networks, second.networks),
    profiles: mergeNamed(first.profiles, second.profiles),
    projects: mergeNamed(first.projects, second.projects),
    cluster: second.cluster ?? first.cluster,
  };
}

const mergeNamed = <T extends { name: string }>(first: readonly T[], second: readonly T[]): T[] => [
  ...first.filter((one) => !second.some(({ name }) => name === one.name)),
  ...second,
];
