/** ZFS for simulated hosts: the kernel's where it is, else a `zfs-fuse` of each host's own. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { waitFor } from '../wait.ts';
import { execInHost, type Host, startInHost } from './host.ts';

/** OpenZFS in the kernel: one set of pools for the whole machine. */
export const hasKernelZfs = (): boolean => existsSync('/dev/zfs');

/** True when its file systems take idmapped mounts, which unprivileged containers need: OpenZFS 2.2 and newer. */
export function kernelZfsMapsIds(): boolean {
  if (!hasKernelZfs()) return false;
  const [major = 0, minor = 0] = readFileSync('/sys/module/zfs/version', 'utf8').split(/[.-]/).map(Number);
  return major > 2 || (major === 2 && minor >= 2);
}

/** Gives a booted host its ZFS; pools it had before come back. With the kernel's there is nothing to start. */
export async function startZfs(host: Host): Promise<void> {
  if (hasKernelZfs()) return;
  await execInHost(host, ['mkdir', '-p', '/run/zfs', '/run/lock/zfs']);
  // 64 MB of cache for each host: the machine's own page cache is below it.
  const daemon = ['zfs-fuse', '--no-daemon', '--no-kstat-mount', '-m', '64', '-a', '1', '-e', '1'];
  const child = startInHost(host, daemon, path.join(host.dir, 'log', 'zfs-fuse.log'));
  await waitFor(`zfs-fuse on ${host.name}`, async () => {
    if (child.exitCode !== null) throw new Error(`zfs-fuse on ${host.name} ended at its start`);
    return (await execInHost(host, ['zpool', 'list'])).code === 0;
  });
  await execInHost(host, ['zfs', 'mount', '-a']);
  child.unref();
}
