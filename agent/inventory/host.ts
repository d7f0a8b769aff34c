/** What the host is: operating system, tools, interfaces, addresses. */
import { readFile } from 'node:fs/promises';
import { availableParallelism, machine, networkInterfaces, release, type } from 'node:os';
import type { HostResources } from '#protocol/inventory.ts';
import type { Exec } from '../system/exec.ts';
import { isManagedInterface, readInterfaces } from './interfaces.ts';
import { memoryTotal } from './load.ts';

export interface HostDeps {
  exec: Exec;
  /** Names of the networks that Longshore made here. */
  managedNetworks(): ReadonlySet<string>;
}

/** Reads everything afresh except the versions of tools, which need programs and change with packages only. */
export function createHostReader(deps: HostDeps): () => Promise<HostResources> {
  let tools: Promise<Tools> | null = null;
  return async () => {
    tools ??= readTools(deps.exec);
    const [{ lxcVersion, storageDrivers }, osRelease, interfaces] = await Promise.all([
      tools,
      readFile('/etc/os-release', 'utf8').catch(() => ''),
      readInterfaces(deps.managedNetworks()),
    ]);
    const os = parseOsRelease(osRelease);
    return {
      architecture: machine(),
      kernel: type(),
      kernelVersion: release(),
      osName: os.NAME ?? '',
      osVersion: os.VERSION_ID ?? '',
      lxcVersion,
      cpuCount: availableParallelism(),
      memoryTotalBytes: memoryTotal(),
      storageDrivers,
      interfaces,
      addresses: ownAddresses(deps.managedNetworks()),
    };
  };
}

type Tools = Pick<HostResources, 'lxcVersion' | 'storageDrivers'>;

async function readTools(exec: Exec): Promise<Tools> {
  const [lxcVersion, zfs, btrfs] = await Promise.all([
    firstLine(exec, 'lxc-start', ['--version']),
    zfsVersion(exec),
    btrfsVersion(exec),
  ]);
  const storageDrivers = [
    ...(zfs === null ? [] : [{ name: 'zfs', version: zfs }]),
    ...(btrfs === null ? [] : [{ name: 'btrfs', version: btrfs }]),
    { name: 'dir', version: '1' },
  ];
  return { lxcVersion: lxcVersion ?? '', storageDrivers };
}

/** A tool that is not there or does not work is no error here: the host simply cannot do it. */
const firstLine = (exec: Exec, file: string, args: readonly string[]): Promise<string | null> =>
  exec(file, args, { timeoutMs: 10_000 }).then(
    ({ stdout }) => stdout.trim().split('\n')[0] ?? '',
    () => null,
  );

/** `zpool list` works only with the module (or the FUSE daemon) there; zfs-fuse has no `zfs version`. */
async function zfsVersion(exec: Exec): Promise<string | null> {
  if ((await firstLine(exec, 'zpool', ['list', '-H'])) === null) return null;
  return (await firstLine(exec, 'zfs', ['version']))?.replace(/^zfs-/, '') ?? 'fuse';
}

async function btrfsVersion(exec: Exec): Promise<string | null> {
  const line = await firstLine(exec, 'btrfs', ['--version']);
  if (line === null) return null;
  const known = await readFile('/proc/filesystems', 'utf8').catch(() => '');
  if (!/\bbtrfs$/m.test(known) && (await firstLine(exec, 'modprobe', ['btrfs'])) === null) return null;
  return /v?(\d[\w.]*)/.exec(line)?.[1] ?? line;
}

/** `NAME="Debian GNU/Linux"` lines to a map. Pure. */
export function parseOsRelease(text: string): Record<string, string> {
  const entries = text.split('\n').flatMap((line) => {
    const match = /^([A-Z_]+)=(?:"(.*)"|'(.*)'|(.*))$/.exec(line.trim());
    return match ? [[match[1] ?? '', match[2] ?? match[3] ?? match[4] ?? '']] : [];
  });
  return Object.fromEntries(entries);
}

function ownAddresses(managed: ReadonlySet<string>): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) => {
    if (isManagedInterface(name, managed)) return [];
    return (addresses ?? [])
      .filter((address) => !address.internal && !/^fe80:/i.test(address.address))
      .map((address) => address.address);
  });
}
