/**
 * Devices of a running instance, attached and detached without a restart. What is there already is left alone, so that a
 * change can be repeated after it was interrupted.
 */
import { closeSync, existsSync, statSync } from 'node:fs';
import { failed } from '#protocol/errors.ts';
import type { Exec } from '../../system/exec.ts';
import { attachMount, detachMount } from '../../system/mount-namespace.ts';
import { parseMountinfo } from '../../system/mounts.ts';
import { readProc } from '../../system/proc.ts';
import { type DiskMount, diskMount, disksOf } from './devices.ts';
import type { InstanceNic, InstanceRoot, InstanceSetup } from './driver.ts';
import { createFileInRoot, makeDirectoryInRoot, statPathInRoot } from './files.ts';
import { withBroadcast, withOneGateway } from './lxc-config.ts';

/** The container as it runs. */
export interface Plugged {
  exec: Exec;
  /** Pid of its init. */
  init: number;
  privileged: boolean;
  openRoot(): Promise<InstanceRoot>;
}

/** Those of `before` that `after` does not have, or not like that. `look` is what makes one that one. */
const gone = <T>(before: readonly T[], after: readonly T[], look: (one: T) => unknown): T[] => {
  const kept = new Set(after.map((one) => JSON.stringify(look(one))));
  return before.filter((one) => !kept.has(JSON.stringify(look(one))));
};

/** Not its addresses: when these change, a NIC in use stays as it is until the next start, as in LXD. */
const nicIdentity = (nic: InstanceNic) => [nic.device, nic.name, nic.hwaddr, nic.hostName, nic.attachment.bridge];

/** Takes away the devices of `before` that `after` does not have in the same form. */
export async function unplugDevices(it: Plugged, before: InstanceSetup, after: InstanceSetup): Promise<void> {
  for (const nic of gone(before.nics, after.nics, nicIdentity)) {
    // A container that has just removed it itself is fine, too.
    if (isPlugged(nic)) await it.exec('ip', ['link', 'delete', 'dev', nic.hostName], { okExitCodes: [0, 1] });
  }
  for (const disk of gone(disksOf(before.spec), disksOf(after.spec), (disk) => disk).reverse()) {
    if (isMountPoint(it.init, disk.path)) detachMount(it.init, disk.path);
  }
}

/** Attaches the devices of `setup` that are not there. Throws `failed` with the device's name. */
export async function plugDevices(it: Plugged, setup: InstanceSetup): Promise<void> {
  for (const nic of withOneGateway(setup.nics)) {
    if (!isPlugged(nic)) await starting(nic.device, () => plugNic(it, nic));
  }
  for (const { name, device } of disksOf(setup.spec)) await starting(name, () => plugDisk(it, diskMount(name, device)));
}

async function starting(device: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw failed(`Failed to start device "${device}": ${reason}`, error);
  }
}

const isPlugged = (nic: InstanceNic) => existsSync(`/sys/class/net/${nic.hostName}`);

/** A pair whose inner end is born in the container's network; then what liblxc would have given it at a start. */
async function plugNic({ exec, init }: Plugged, nic: InstanceNic): Promise<void> {
  const { bridge, mtu, ipv4, ipv4Gateway, ipv6, ipv6Gateway } = nic.attachment;
  if (!existsSync(`/sys/class/net/${bridge}`)) throw failed(`Parent device "${bridge}" doesn't exist`);
  const outer = ['name', nic.hostName, 'mtu', String(mtu), 'master', bridge, 'up'];
  const inner = ['name', nic.name, 'address', nic.hwaddr, 'mtu', String(mtu), 'netns', String(init)];
  await exec('ip', ['link', 'add', ...outer, 'type', 'veth', 'peer', ...inner]);
  const inside = (...args: string[]) => exec('nsenter', [`--net=/proc/${init}/ns/net`, 'ip', ...args]);
  await inside('link', 'set', 'dev', nic.name, 'up');
  if (ipv4 !== null) {
    const [address = '', broadcast = ''] = withBroadcast(ipv4).split(' ');
    await inside('address', 'replace', address, 'broadcast', broadcast, 'dev', nic.name);
  }
  if (ipv6 !== null) await inside('address', 'replace', ipv6, 'dev', nic.name);
  // One that the container has got meanwhile stays.
  const route = (gateway: string) => ['route', 'append', 'default', 'via', gateway, 'dev', nic.name];
  if (ipv4Gateway !== null) await inside('-4', ...route(ipv4Gateway));
  if (ipv6Gateway !== null) await inside('-6', ...route(ipv6Gateway));
}

function isMountPoint(init: number, path: string): boolean {
  return parseMountinfo(readProc(init, 'mountinfo') ?? '').some((mount) => mount.path === `/${path}`);
}

/** Whether what is at the disk's path is the source already. */
function isMounted(root: InstanceRoot, { source, path }: DiskMount): boolean {
  const there = statPathInRoot(root, path);
  const wanted = statSync(source ?? '', { throwIfNoEntry: false });
  return there !== null && wanted !== undefined && there.dev === wanted.dev && there.ino === wanted.ino;
}

async function plugDisk(it: Plugged, disk: DiskMount): Promise<void> {
  if (disk.source === null) return;
  const root = await it.openRoot();
  try {
    if (isMounted(root, disk)) return;
    makeMountPoint(root, disk);
  } finally {
    root.close();
  }
  const { source, recursive, readonly, shift } = disk;
  attachMount(it.init, { source, recursive, readonly, idmapped: shift && !it.privileged }, disk.path);
}

function makeMountPoint(root: InstanceRoot, disk: DiskMount): void {
  const parts = disk.path.split('/');
  const directories = disk.isDirectory ? parts : parts.slice(0, -1);
  directories.forEach((_, index) => {
    const path = directories.slice(0, index + 1).join('/');
    makeDirectoryInRoot(root, path, { mode: 0o755, uid: 0, gid: 0 });
  });
  if (!disk.isDirectory) closeSync(createFileInRoot(root, disk.path, { append: true }).fd);
}
