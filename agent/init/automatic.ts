/** `--auto` and `--minimal`: a preseed without questions. Pure. */
import { badRequest } from '#protocol/errors.ts';
import { EMPTY_PRESEED, type Preseed } from './preseed.ts';

/** The flags of `lxd init --auto`. */
export interface AutomaticOptions {
  storageBackend?: string | undefined;
  storagePool?: string | undefined;
  storageCreateDevice?: string | undefined;
  /** In GB, as LXD has it. */
  storageCreateLoop?: string | undefined;
  networkAddress?: string | undefined;
  networkPort?: string | undefined;
  trustPassword?: string | undefined;
}

const BACKENDS = ['btrfs', 'dir', 'zfs'];

/**
 * One pool, one bridge and the default profile on them. Pools and bridges that are there are used instead of new ones.
 * Throws `bad_request` for flags that do not go together, in LXD's words.
 */
export function automaticPreseed(
  options: AutomaticOptions,
  there: { pools: readonly string[]; networks: readonly string[] },
): Preseed {
  const driver = options.storageBackend ?? 'dir';
  if (!BACKENDS.includes(driver)) throw badRequest(`The requested backend '${driver}' isn't supported by lxd init`);
  const { storageCreateDevice: device, storageCreateLoop: loop } = options;
  if (driver === 'dir' && (device !== undefined || loop !== undefined)) {
    throw badRequest(
      "None of --storage-pool, --storage-create-device or --storage-create-loop may be used with the 'dir' backend",
    );
  }
  if (device !== undefined && loop !== undefined) {
    throw badRequest('Only one of --storage-create-device or --storage-create-loop can be specified');
  }
  if (loop !== undefined && !/^[1-9]\d{0,8}$/.test(loop))
    throw badRequest('--storage-create-loop must be a size in GB');
  if (options.networkPort !== undefined && options.networkAddress === undefined) {
    throw badRequest('--network-port can only be used with --network-address');
  }
  const pool = there.pools[0] ?? 'default';
  const network = there.networks[0] ?? 'lxdbr0';
  const config = {
    ...(options.storagePool === undefined ? {} : { source: options.storagePool }),
    ...(device === undefined ? {} : { source: device }),
    ...(loop === undefined ? {} : { size: `${loop}GiB` }),
  };
  const address = options.networkAddress;
  return {
    ...EMPTY_PRESEED,
    config: {
      ...(address === undefined ? {} : { 'core.https_address': `${address}:${options.networkPort ?? '8443'}` }),
      ...(options.trustPassword === undefined ? {} : { 'core.trust_password': options.trustPassword }),
    },
    storage_pools: there.pools.length > 0 ? [] : [{ name: pool, driver, description: '', config }],
    networks:
      there.networks.length > 0
        ? []
        : [
            {
              name: network,
              type: 'bridge',
              description: '',
              project: '',
              config: { 'ipv4.address': 'auto', 'ipv6.address': 'auto' },
            },
          ],
    profiles: [
      {
        name: 'default',
        description: '',
        config: {},
        devices: {
          root: { path: '/', pool, type: 'disk' },
          eth0: { name: 'eth0', network, type: 'nic' },
        },
      },
    ],
  };
}
