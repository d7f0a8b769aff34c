/** What this host offers to containers, looked up when a config is written. */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { type CgroupMounts, readCgroupFile } from '../../system/cgroup.ts';
import { type LimitContext, parseCpuSet } from './limits.ts';
import type { ConfigHost } from './lxc-config.ts';

const LXC_CONFIG_DIR = '/usr/share/lxc/config';

const existing = (path: string) => (existsSync(path) ? path : null);

function usableCpus(mounts: CgroupMounts): number[] {
  const v1 = mounts.v1.get('cpuset');
  const text =
    (v1 && readCgroupFile(v1, 'cpuset.cpus')) ||
    (mounts.v2 && readCgroupFile(mounts.v2, 'cpuset.cpus.effective')) ||
    '';
  return parseCpuSet(text) ?? os.cpus().map((_, index) => index);
}

/** This host as limits see it. */
export function limitHost(mounts: CgroupMounts): Omit<LimitContext, 'seed'> {
  const total = /^MemTotal:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return { memoryTotalBytes: total === undefined ? os.totalmem() : Number(total) * 1024, cpus: usableCpus(mounts) };
}

/** All that `renderConfig` needs to know. */
export function configHost(mounts: CgroupMounts, paths: { hookPath: string; logDir: string }): ConfigHost {
  return {
    ...paths,
    limits: limitHost(mounts),
    hasCgroupFile: (version, controller, file) => {
      const mount = mounts.v1.get(controller);
      // The root group of v1 has every file; the one of v2 has none of the limits'.
      if (version === 1) return mount !== undefined && existsSync(join(mount, file));
      return mount === undefined && mounts.v2Controllers.has(controller);
    },
    seccompProfile: existing(join(LXC_CONFIG_DIR, 'common.seccomp')),
    nestingConfig: existing(join(LXC_CONFIG_DIR, 'nesting.conf')),
    lxcfsHook: existsSync('/var/lib/lxcfs/proc') ? existing('/usr/share/lxcfs/lxc.mount.hook') : null,
  };
}
