/**
 * Three members of Debian's own LXD in simulated hosts, as its guide forms them: what Longshore is measured against. Its
 * members must reach each other, so this router lets them; everything else is as for Longshore's hosts.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import type { BuiltImage } from '#selfhost/images/cache.ts';
import { bootHost, createHost, describeHost, execInHost, type Host, startInHost } from '#selfhost/playground/host.ts';
import { createNet, hostAddressOf, type Net, routerOf } from '#selfhost/playground/network.ts';
import { createRun, recordNet, removeRun } from '#selfhost/playground/runs.ts';
import { run } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';
import { stockClient } from './client.ts';
import type { Side } from './pairs.ts';

const PORT = 8443;
const POOL_SIZE = '4GiB';
/** Of this run's members only: they exist for the length of a benchmark in namespaces of their own. */
const PASSWORD = 'for-the-length-of-a-benchmark';

export interface LxdCluster {
  side: Side;
  stop(): Promise<void>;
}

/**
 * Starts and forms the cluster, imports `image` as `tiny`. Needs `lxd` installed. What it made is gone after `stop`, or when
 * it throws.
 */
export async function startLxdCluster(image: BuiltImage, signal: AbortSignal): Promise<LxdCluster> {
  const it = createRun();
  try {
    const net = await createNet((claimed) => recordNet(it, claimed));
    const rule = ['insert', 'rule', 'inet', 'longshore', 'c_forward', 'accept'];
    await run('ip', ['netns', 'exec', routerOf(net), 'nft', ...rule]);
    const hosts = [1, 2, 3].map((number) => describeHost(net, it.dir, number));
    for (const host of hosts) {
      signal.throwIfAborted();
      await startMember(host);
    }
    for (const host of hosts) {
      signal.throwIfAborted();
      await formMember(net, host, hosts);
    }
    const side = await connectClient(net, path.join(it.dir, 'lxc-conf'), signal);
    await side.lxc(['image', 'import', image.metadata, image.rootfs, '--alias', 'tiny']);
    return { side, stop: () => removeRun(it) };
  } catch (error) {
    await removeRun(it);
    throw error;
  }
}

async function startMember(host: Host): Promise<void> {
  await createHost(host);
  await bootHost(host);
  await execInHost(host, ['mkdir', '-p', '/var/log/lxd']);
  startInHost(host, ['lxd'], path.join(host.dir, 'lxd.log'));
  await waitFor(
    `LXD on ${host.name}`,
    async () => (await execInHost(host, ['lxd', 'waitready', '--timeout', '10'])).code === 0,
    { timeoutMs: 60_000, everyMs: 200 },
  );
}

async function formMember(net: Net, host: Host, hosts: Host[]): Promise<void> {
  const [first] = hosts;
  const address = (member: Host) => `${hostAddressOf(net, member.number)}:${PORT}`;
  const preseed =
    host === first || first === undefined
      ? firstPreseed(host.name, address(host))
      : {
          cluster: {
            enabled: true,
            server_name: host.name,
            server_address: address(host),
            cluster_address: address(first),
            cluster_password: PASSWORD,
            cluster_certificate: (await execInHost(first, ['cat', '/var/lib/lxd/cluster.crt'])).stdout,
            member_config: [
              { entity: 'storage-pool', name: 'default', key: 'source', value: '' },
              { entity: 'storage-pool', name: 'default', key: 'size', value: POOL_SIZE },
            ],
          },
        };
  const formed = await execInHost(host, ['lxd', 'init', '--preseed'], { input: stringify(preseed) });
  if (formed.code !== 0) throw new Error(`lxd init on ${host.name}: ${formed.stderr}`);
}

const firstPreseed = (name: string, address: string) => ({
  config: { 'core.https_address': address, 'core.trust_password': PASSWORD },
  storage_pools: [{ name: 'default', driver: 'btrfs', config: { size: POOL_SIZE } }],
  networks: [
    {
      name: 'lxdbr0',
      type: 'bridge',
      config: { 'ipv4.address': '10.200.0.1/16', 'ipv4.nat': 'true', 'ipv6.address': 'none' },
    },
  ],
  profiles: [
    {
      name: 'default',
      devices: {
        root: { path: '/', pool: 'default', type: 'disk' },
        eth0: { name: 'eth0', network: 'lxdbr0', type: 'nic' },
      },
    },
  ],
  cluster: { server_name: name, enabled: true },
});

async function connectClient(net: Net, conf: string, signal: AbortSignal): Promise<Side> {
  await mkdir(conf, { recursive: true });
  // Keeps the client from looking for a local LXD and its first-run hints.
  await writeFile(path.join(conf, 'config.yml'), 'default-remote: local\nremotes: {}\naliases: {}\n');
  const side = stockClient('LXD', conf, signal);
  const url = `https://${hostAddressOf(net, 1)}:${PORT}`;
  await side.lxc(['remote', 'add', 'bench', url, '--accept-certificate', '--password', PASSWORD]);
  await side.lxc(['remote', 'switch', 'bench']);
  return side;
}
