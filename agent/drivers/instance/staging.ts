/**
 * Disks whose source has file systems mounted below it that the instance is not to see. The kernel does not let liblxc take
 * such a directory alone once it is in the container's user namespace, so the host takes it alone before: a bind mount under
 * the run directory, gone again as soon as the container has its own.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { isTrue } from '#protocol/units.ts';
import type { Exec } from '../../system/exec.ts';
import { listMounts } from '../../system/mounts.ts';
import { disksOf } from './devices.ts';
import type { InstanceSetup } from './driver.ts';

export interface Staging {
  exec: Exec;
  runDir: string;
}

const stageOf = ({ runDir }: Staging, container: string) => join(runDir, 'disks', container);

function resolved(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** The set-up to start with: such disks come from their stage. Call `unstageDisks` when the start is over. */
export async function stageDisks(it: Staging, container: string, setup: InstanceSetup): Promise<InstanceSetup> {
  const disks = disksOf(setup.spec);
  if (disks.length === 0) return setup;
  const mounts = await listMounts();
  const devices = { ...setup.spec.expandedDevices };
  for (const [index, { name, device }] of disks.entries()) {
    const source = isTrue(device.recursive) || !device.source ? null : resolved(device.source);
    const below = source === null ? null : `${source.replace(/\/$/, '')}/`;
    if (source === null || below === null || !mounts.some(({ path }) => path.startsWith(below))) continue;
    const stage = join(stageOf(it, container), String(index));
    mkdirSync(stage, { recursive: true, mode: 0o711 });
    await it.exec('mount', ['--bind', '--', source, stage]);
    devices[name] = { ...device, source: stage };
  }
  return { ...setup, spec: { ...setup.spec, expandedDevices: devices } };
}

/** Takes the stages away; also those that an interrupted start has left. */
export async function unstageDisks(it: Staging, container: string): Promise<void> {
  const stage = stageOf(it, container);
  if (!existsSync(stage)) return;
  for (const { path } of await listMounts()) {
    if (path.startsWith(`${stage}/`)) await it.exec('umount', ['--lazy', '--', path], { okExitCodes: [0, 32] });
  }
  // Directories only: a stage that is still mounted must not be emptied.
  rmStage(stage);
}

function rmStage(stage: string): void {
  try {
    for (const entry of readdirSync(stage)) rmdirSync(join(stage, entry));
    rmdirSync(stage);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && ['ENOENT', 'EBUSY'].includes(String(error.code)))) throw error;
  }
}
