/** What the hosts of the playground share: two pools, a bridge, the default profile, two images. Made as a user would. */
import type { BuiltImage } from '../images/cache.ts';
import { lxcOk } from './client.ts';
import { type Playground, zfsPoolName } from './cluster.ts';
import type { Host } from './host.ts';
import { kernelZfsMapsIds } from './zfs.ts';

/** Of each loop file: sparse, so this is what may be used, not what is. */
const POOL_SIZE = '16GiB';

const hostsOf = (playground: Playground): Host[] => [...playground.slots.values()].map((slot) => slot.host);

/** LXD's two steps: the member's own keys for each member, then the pool. */
export async function createPool(
  playground: Playground,
  name: string,
  driver: 'zfs' | 'btrfs',
  size = POOL_SIZE,
): Promise<void> {
  const create = (...args: string[]) => lxcOk(playground.client, ['storage', 'create', name, driver, ...args]);
  await Promise.all(
    hostsOf(playground).map((host) => {
      const own = driver === 'zfs' ? [`zfs.pool_name=${zfsPoolName(playground, host, name)}`] : [];
      return create('--target', host.name, `size=${size}`, ...own);
    }),
  );
  await create();
}

/** `tank` on ZFS; `default` on what unprivileged containers can use: ZFS that maps ids, else btrfs. */
export async function createPools(playground: Playground): Promise<void> {
  const driver = kernelZfsMapsIds() ? 'zfs' : 'btrfs';
  await Promise.all([createPool(playground, 'tank', 'zfs'), createPool(playground, 'default', driver)]);
}

export async function createBridge(playground: Playground): Promise<void> {
  const create = (...args: string[]) => lxcOk(playground.client, ['network', 'create', 'lxdbr0', ...args]);
  await Promise.all(hostsOf(playground).map((host) => create('--target', host.name)));
  await create('ipv4.address=auto', 'ipv6.address=none');
}

export async function fillDefaultProfile(playground: Playground): Promise<void> {
  const add = (...args: string[]) => lxcOk(playground.client, ['profile', 'device', 'add', 'default', ...args]);
  await add('root', 'disk', 'path=/', 'pool=default');
  await add('eth0', 'nic', 'network=lxdbr0', 'name=eth0');
}

export async function importImage(playground: Playground, image: BuiltImage, alias: string): Promise<void> {
  const args = ['image', 'import', image.metadata, image.rootfs, '--alias', alias];
  await lxcOk(playground.client, args, { timeoutMs: 300_000 });
}
