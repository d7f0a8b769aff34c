/** After a start of the agent or the host: pools and networks as they were, and the instances that belong up. */
import { createHash } from 'node:crypto';
import { readFile, readlink } from 'node:fs/promises';
import type { InstanceSpec } from '#protocol/commands.ts';
import { isTrue } from '#protocol/units.ts';
import type { Host } from '../commands/host.ts';
import { bringUp } from '../commands/instance-state.ts';
import { recordPower, statusOf, volumeName } from '../commands/instances.ts';
import { type InstanceRecord, instanceKey } from '../journal/journal.ts';

/**
 * Names this boot: the kernel's id and when pid 1 began, so that a host in a namespace of its own boots by itself. Never
 * fails: without `/proc` every start counts as the same boot.
 */
export async function readBoot(): Promise<string> {
  const [id, stat] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => ''),
    readFile('/proc/1/stat', 'utf8').catch(() => ''),
  ]);
  // The fields after the name in parentheses; `starttime` is the 20th of them.
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  return `${id.trim()}/${startTicks}`;
}

/**
 * What the control plane may know of this boot: the same for every agent of it, and another one on any other host, also on
 * one with a copy of this disk. Simulated hosts of one machine differ by their pid namespace.
 */
export async function readBootId(): Promise<string> {
  const [boot, namespace] = await Promise.all([readBoot(), readlink('/proc/1/ns/pid').catch(() => '')]);
  return createHash('sha256').update(`${boot}/${namespace}`).digest('hex').slice(0, 32);
}

/** Opens every pool and brings the networks up. What cannot be is logged and tried again at its next use. */
export async function restoreHost(host: Host): Promise<void> {
  await Promise.all(
    host.journal.pools
      .list()
      .map((pool) =>
        host.pools.open(pool.name).catch((err) => host.log.error('pool.open.failed', { pool: pool.name, err })),
      ),
  );
  await host.networks.restore().catch((err) => host.log.error('network.restore.failed', { err }));
}

/** The instances to start after a boot, in LXD's order: highest `boot.autostart.priority` first, then by name. Pure. */
export function autostartOrder(records: readonly InstanceRecord[]): InstanceSpec[] {
  const priority = ({ spec }: InstanceRecord) => Number(spec.expandedConfig['boot.autostart.priority'] ?? 0) || 0;
  return records
    .filter(({ spec, power }) => {
      const wish = spec.expandedConfig['boot.autostart'];
      return wish === undefined || wish === '' ? power === 'RUNNING' : isTrue(wish);
    })
    .toSorted((a, b) => priority(b) - priority(a) || (instanceKey(a.spec) < instanceKey(b.spec) ? -1 : 1))
    .map((record) => record.spec);
}

/**
 * Adopts what runs. When the host has booted since the last start, starts what belongs up, one after the other; one that
 * fails does not hold up the next. Otherwise an instance that is down has stopped by itself and stays down. `inTurn` is told
 * by `start` whether it was started.
 */
export async function restoreInstances(
  host: Host,
  boot: string,
  inTurn: (spec: InstanceSpec, start: () => Promise<boolean>) => Promise<void>,
): Promise<void> {
  const booted = host.journal.lastBoot() !== boot;
  const records = host.journal.instances.list();
  if (booted) await forgetNames(host);
  if (!booted) {
    for (const { spec } of records) if ((await statusOf(host, spec)) === 'Stopped') recordPower(host, spec, 'STOPPED');
    return;
  }
  for (const spec of autostartOrder(records)) {
    await inTurn(spec, () => startAfterBoot(host, spec));
    const delaySeconds = Number(spec.expandedConfig['boot.autostart.delay'] ?? 0) || 0;
    if (delaySeconds > 0) await new Promise((resolve) => setTimeout(resolve, delaySeconds * 1000));
  }
  host.journal.setLastBoot(boot);
}

/** What the last boot ended without a word is down: DNS forgets it until it is started. */
async function forgetNames(host: Host): Promise<void> {
  for (const { spec } of host.journal.instances.list()) {
    if ((await statusOf(host, spec)) === 'Stopped') await host.networks.announce(volumeName(spec), false);
  }
}

async function startAfterBoot(host: Host, spec: InstanceSpec): Promise<boolean> {
  // It may have been changed, started or deleted by a command meanwhile.
  const record = host.journal.instances.find(spec);
  if (record === undefined || (await statusOf(host, spec)) !== 'Stopped') return false;
  const instance = instanceKey(spec);
  try {
    await bringUp(host, new AbortController().signal, record.spec);
    host.log.info('instance.autostart.done', { instance });
    return true;
  } catch (err) {
    host.log.error('instance.autostart.failed', { instance, err });
    return false;
  }
}
