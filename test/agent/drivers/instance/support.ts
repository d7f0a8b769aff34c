/** A real LXC driver with directories of its own, and a small root file system made of a static busybox. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import type { ExecProcess, InstanceDriver, InstanceNic, InstanceSetup } from '#agent/drivers/instance/driver.ts';
import { createLxcDriver, type LxcDeps } from '#agent/drivers/instance/lxc.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';

const INIT = `#!/bin/sh
trap 'exit 0' PWR
trap '/bin/busybox reboot -f' USR1
while :; do sleep 86400 & wait $!; done
`;

/** Fills `<volume>/rootfs`. */
export function makeRootfs(volume: string): void {
  const root = join(volume, 'rootfs');
  for (const directory of ['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'root', 'tmp', 'run', 'usr/bin', 'usr/sbin']) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  execFileSync('cp', ['/bin/busybox', join(root, 'bin/busybox')]);
  for (const path of execFileSync('/bin/busybox', ['--list-full'], { encoding: 'utf8' }).trim().split('\n')) {
    if (path !== 'bin/busybox' && path !== 'sbin/init') {
      try {
        symlinkSync('/bin/busybox', join(root, path));
      } catch {
        // A directory that this small tree does not have.
      }
    }
  }
  writeFileSync(join(root, 'sbin/init'), INIT, { mode: 0o755 });
  writeFileSync(join(root, 'etc/passwd'), 'root::0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n');
}

/** All programs but newuidmap on one PATH: liblxc then writes id maps itself, and the machine's /etc/subuid does not matter. */
function makeToolDirectory(base: string): string {
  const tools = join(base, 'tools');
  mkdirSync(tools);
  for (const directory of ['/usr/bin', '/usr/sbin']) {
    for (const tool of readdirSync(directory)) {
      if (!/^new[ug]idmap$/.test(tool) && !existsSync(join(tools, tool)))
        symlinkSync(join(directory, tool), join(tools, tool));
    }
  }
  return tools;
}

export function makeSetup(
  volumePath: string,
  name: string,
  options: Partial<{
    config: Record<string, string>;
    devices: Record<string, Record<string, string>>;
    nics: InstanceNic[];
    idmap: boolean;
  }> = {},
): InstanceSetup {
  return {
    spec: {
      project: 'default',
      name,
      id: name,
      type: 'container',
      architecture: 'x86_64',
      description: '',
      ephemeral: false,
      createdAt: '2026-01-01T00:00:00Z',
      profiles: [],
      config: {},
      devices: {},
      expandedConfig: options.config ?? {},
      expandedDevices: options.devices ?? {},
    },
    volumePath,
    idmap: options.idmap ?? true,
    nics: options.nics ?? [],
  };
}

export interface Fixture {
  base: string;
  deps: LxcDeps;
  driver: InstanceDriver;
  volume: string;
  /** A configured instance with a root of its own copy. */
  add(setup: InstanceSetup): Promise<void>;
  cleanUp(): Promise<void>;
}

export function makeFixture(): Fixture {
  const base = mkdtempSync(join(os.tmpdir(), 'lsrt-'));
  // The container's root has no other rights on the way to its files.
  chmodSync(base, 0o711);
  const deps: LxcDeps = {
    exec,
    dataDir: join(base, 'data'),
    runDir: join(base, 'run'),
    logDir: join(base, 'log'),
    log: silentLog,
    searchPath: makeToolDirectory(base),
  };
  mkdirSync(deps.runDir);
  const volume = join(base, 'volume');
  makeRootfs(volume);
  const driver = createLxcDriver(deps);
  const stopAll = async () => {
    for (const ref of await driver.list()) {
      await driver.stop(ref, { force: true, timeoutMs: null });
      await driver.remove(ref);
    }
  };
  return {
    base,
    deps,
    driver,
    volume,
    add: (setup) => driver.configure(setup),
    cleanUp: async () => {
      await stopAll();
      rmSync(base, { recursive: true, force: true });
    },
  };
}

/** Collects all output of a program. */
export async function collect(process: ExecProcess): Promise<{ stdout: string; stderr: string; code: number }> {
  const output = { stdout: '', stderr: '' };
  process.onOutput((channel, bytes) => {
    output[channel] += Buffer.from(bytes).toString();
  });
  return { code: await process.exited, ...output };
}
