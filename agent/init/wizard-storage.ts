/** The storage part of the dialogue. */

import { join } from 'node:path';
import { failed } from '#protocol/errors.ts';
import { checkPoolName } from '#protocol/names.ts';
import type { Terminal } from '../prompt/terminal.ts';
import type { PreseedPool } from './preseed.ts';
import type { WizardFacts } from './wizard.ts';

const GIB = 2 ** 30;

/** The pool that is wanted, or null for none. In a cluster its name is `local`, as LXD says. */
export async function askPool(terminal: Terminal, facts: WizardFacts, clustered: boolean): Promise<PreseedPool | null> {
  const kind = clustered ? 'local storage pool' : 'storage pool';
  const wanted = await terminal.askBool(`Do you want to configure a new ${kind}? (yes/no) [default=yes]: `, true);
  const pool = wanted ? await describePool(terminal, facts, clustered) : null;
  if (
    clustered &&
    (await terminal.askBool('Do you want to configure a new remote storage pool? (yes/no) [default=no]: ', false))
  ) {
    terminal.print('No remote storage backends available');
  }
  return pool;
}

async function describePool(terminal: Terminal, facts: WizardFacts, clustered: boolean): Promise<PreseedPool> {
  const name = clustered ? 'local' : await askPoolName(terminal, facts);
  if (clustered && facts.pools.has(name)) throw failed('The local storage pool already exists');
  const driver = await askDriver(terminal, facts);
  const pool = { name, driver, description: '', config: {} };
  if (driver === 'dir') return pool;
  if (driver === 'btrfs' && facts.backingFileSystem === 'btrfs') {
    const question = `Would you like to create a new btrfs subvolume under ${facts.dataDir}? (yes/no) [default=yes]: `;
    if (await terminal.askBool(question, true)) {
      return { ...pool, config: { source: join(facts.dataDir, 'storage-pools', name) } };
    }
  }
  const upper = driver.toUpperCase();
  if (!(await terminal.askBool(`Create a new ${upper} pool? (yes/no) [default=yes]: `, true))) {
    return { ...pool, config: { source: await terminal.askString(`Name of the existing ${upper} pool or dataset: `) } };
  }
  const device =
    'Would you like to use an existing empty block device (e.g. a disk or partition)? (yes/no) [default=no]: ';
  if (await terminal.askBool(device, false)) {
    const source = await terminal.askString('Path to the existing block device: ', '', (path) =>
      facts.isBlockDevice(path) ? null : `"${path}" is not a block device`,
    );
    return { ...pool, config: { source } };
  }
  return { ...pool, config: { size: await askLoopSize(terminal, facts) } };
}

async function askPoolName(terminal: Terminal, facts: WizardFacts): Promise<string> {
  for (;;) {
    const name = await terminal.askString('Name of the new storage pool [default=default]: ', 'default', checkPoolName);
    if (!facts.pools.has(name)) return name;
    terminal.print(`The requested storage pool "${name}" already exists. Please choose another name.`);
  }
}

/** LXD's order of preference. */
export function preferredDriver(facts: Pick<WizardFacts, 'storageDrivers' | 'backingFileSystem'>): string {
  const has = (name: string) => facts.storageDrivers.includes(name);
  if (facts.backingFileSystem === 'btrfs' && has('btrfs')) return 'btrfs';
  return ['zfs', 'btrfs'].find(has) ?? 'dir';
}

async function askDriver(terminal: Terminal, facts: WizardFacts): Promise<string> {
  const choices = [...facts.storageDrivers].sort();
  const [only] = choices;
  if (only === undefined) throw failed('No storage backends available');
  if (choices.length === 1) return only;
  const preferred = preferredDriver(facts);
  const question = `Name of the storage backend to use (${choices.join(', ')}) [default=${preferred}]: `;
  return terminal.askChoice(question, choices, preferred);
}

/** A fifth of the disk, between 5 and 30 GiB. */
export const defaultLoopGib = (diskBytes: number): number => Math.min(30, Math.max(5, Math.floor(diskBytes / GIB / 5)));

async function askLoopSize(terminal: Terminal, facts: WizardFacts): Promise<string> {
  const fallback = `${defaultLoopGib(facts.diskBytes)}GiB`;
  const question = `Size in GiB of the new loop device (1GiB minimum) [default=${fallback}]: `;
  const answer = await terminal.askString(question, fallback, (text) => {
    const size = /^(\d{1,9})(GiB|GB)?$/.exec(text)?.[1];
    if (size === undefined) return `"${text}" is not a size in GiB`;
    return Number(size) < 1 ? 'Minimum size is 1GiB' : null;
  });
  return /GB$/.test(answer) ? answer : `${answer.replace('GiB', '')}GiB`;
}
