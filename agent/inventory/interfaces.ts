/** The host's network interfaces, without those that Longshore made. */
import { readdir, readFile, stat } from 'node:fs/promises';
import type { HostResources } from '#protocol/inventory.ts';

type Interface = HostResources['interfaces'][number];

/** Our bridges and the host sides of instances' NICs. */
export const isManagedInterface = (name: string, managed: ReadonlySet<string>) =>
  managed.has(name) || /^veth[0-9a-f]{8}$/.test(name);

/** Reads `/sys/class/net`, in the kernel's order. Interfaces that go while they are read are left out. */
export async function readInterfaces(managed: ReadonlySet<string>): Promise<Interface[]> {
  const names = await readdir('/sys/class/net').catch(() => []);
  const interfaces = await Promise.all(names.map((name) => readInterface(name, managed).catch(() => null)));
  return interfaces
    .filter((entry) => entry !== null)
    .sort((a, b) => a.index - b.index)
    .map(({ index, ...entry }) => entry);
}

type Indexed = Interface & { index: number };

async function readInterface(name: string, managed: ReadonlySet<string>): Promise<Indexed | null> {
  const path = `/sys/class/net/${name}`;
  if (isManagedInterface(name, managed)) return null;
  const hwaddr = (await readFile(`${path}/address`, 'utf8')).trim();
  const index = Number((await readFile(`${path}/ifindex`, 'utf8')).trim());
  return { name, type: await typeOf(path, name), hwaddr, index };
}

async function typeOf(path: string, name: string): Promise<Interface['type']> {
  if (name === 'lo') return 'loopback';
  if (await isThere(`${path}/bridge`)) return 'bridge';
  if (await isThere(`${path}/bonding`)) return 'bond';
  if (await isThere(`/proc/net/vlan/${name}`)) return 'vlan';
  return (await isThere(`${path}/device`)) ? 'physical' : 'unknown';
}

const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );
