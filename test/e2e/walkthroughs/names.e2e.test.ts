/** Names of instances on every host and in every container (walk-throughs A9, B4). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, newName, newNames, removeInstances, waitFor } from '../support.ts';

const HOSTS = [1, 2, 3] as const;
const names = newNames('dns', 3);
const extra: string[] = [];

async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  expect({ args, stderr, code }).toEqual({ args, stderr: '', code: 0 });
  return stdout;
}

const addressOf = async (name: string) =>
  /^\d+\.\d+\.\d+\.\d+/.exec((await lxc('list', `^${name}$`, '-c', '4', '--format', 'csv')).stdout)?.[0];

/** What the host's own resolver answers; null when nothing. */
async function ask(host: number, name: string): Promise<string | null> {
  const { stdout, code } = await cluster.host(host).exec(['getent', 'ahostsv4', name]);
  return code === 0 ? (stdout.split(/\s/)[0] ?? null) : null;
}

/** The same inside a container. */
async function askInside(instance: string, name: string): Promise<string | null> {
  const { stdout } = await lxc('exec', instance, '--', 'nslookup', name);
  // The first address is the server's.
  return /Name:.*\nAddress(?: 1)?: (\S+)/.exec(stdout)?.[1] ?? null;
}

const answers = (host: number, name: string, address: string | null, limitMs = 10_000) =>
  waitFor(
    `host${host} to answer ${address} for ${name}`,
    async () => ((await ask(host, name)) === address ? true : undefined),
    limitMs,
  );

beforeAll(async () => {
  await Promise.all(names.map((name, index) => ok('launch', 'tiny', name, '--target', `host${index + 1}`)));
});
afterAll(async () => {
  await cluster
    .host(2)
    .startAgent()
    .catch(() => {});
  await removeInstances([...names, ...extra]);
});

describe('the name of an instance', () => {
  it('is answered on every host, short and with the domain', async () => {
    for (const name of names) {
      const address = (await addressOf(name)) ?? 'none';
      for (const host of HOSTS) {
        await answers(host, name, address);
        expect(await ask(host, `${name}.lxd`)).toBe(address);
      }
    }
    for (const host of HOSTS) expect(await ask(host, 'no-such-name')).toBeNull();
  });

  it('is answered inside the containers of every host', async () => {
    for (const inside of names) {
      for (const name of names) {
        const address = (await addressOf(name)) ?? 'none';
        await waitFor(`${inside} to know ${name}`, async () =>
          (await askInside(inside, `${name}.lxd`)) === address ? true : undefined,
        );
      }
    }
  });

  it('goes when it stops, and is back when it starts', async () => {
    const [name = ''] = names;
    const address = (await addressOf(name)) ?? 'none';
    await ok('stop', '-f', name);
    for (const host of HOSTS) await answers(host, name, null);
    await ok('start', name);
    for (const host of HOSTS) await answers(host, name, address);
  });

  it('follows a rename, and goes with a deletion', async () => {
    const [old, renamed] = [newName('old'), newName('new')];
    extra.push(old, renamed);
    await ok('launch', 'tiny', old, '--target', 'host3');
    await ok('stop', '-f', old);
    await ok('rename', old, renamed);
    await ok('start', renamed);
    const address = (await addressOf(renamed)) ?? 'none';
    for (const host of HOSTS) await answers(host, renamed, address);
    for (const host of HOSTS) expect(await ask(host, old)).toBeNull();
    await ok('delete', '-f', renamed);
    for (const host of HOSTS) await answers(host, renamed, null);
  });

  it('is kept while its host is away, and learned by a host that was', async () => {
    const [, there = '', other = ''] = names;
    const late = newName('late');
    extra.push(late);
    const address = (await addressOf(there)) ?? 'none';
    await cluster.host(2).stopAgent();
    await waitFor('host2 to be offline', async () =>
      (await ok('cluster', 'list')).match(/host2.*OFFLINE/) ? true : undefined,
    );
    await ok('launch', 'tiny', late, '--target', 'host1');
    const lateAddress = (await addressOf(late)) ?? 'none';
    await answers(3, late, lateAddress);
    expect(await ask(1, there)).toBe(address);
    expect(await ask(3, there)).toBe(address);
    // Without its agent the host still answers what it knew.
    expect(await ask(2, other)).toBe(await addressOf(other));
    expect(await ask(2, late)).toBeNull();
    await cluster.host(2).startAgent();
    await answers(2, late, lateAddress);
  });
});

describe('a network without DNS', () => {
  it('gives no names to anybody', async () => {
    const network = `q${newName('')
      .replace(/[^0-9a-z]/g, '')
      .slice(0, 7)}`;
    const name = newName('quiet');
    extra.push(name);
    await ok('network', 'create', network, 'ipv4.address=auto', 'ipv6.address=none', 'dns.mode=none');
    try {
      await ok('launch', 'tiny', name, '-n', network, '--target', 'host1');
      const witness = newName('witness');
      extra.push(witness);
      await ok('launch', 'tiny', witness, '--target', 'host1');
      const address = (await addressOf(witness)) ?? 'none';
      for (const host of HOSTS) {
        await answers(host, witness, address);
        expect(await ask(host, name)).toBeNull();
      }
      // Switched on while it runs.
      await ok('network', 'set', network, 'dns.mode=managed', 'dns.domain=loud.example');
      const quiet = (await addressOf(name)) ?? 'none';
      for (const host of HOSTS) await answers(host, `${name}.loud.example`, quiet);
    } finally {
      await removeInstances([name]);
      await lxc('network', 'delete', network);
    }
  });
});
