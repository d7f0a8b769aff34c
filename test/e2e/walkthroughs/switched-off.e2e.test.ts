/** Host 3 is switched off, as by its power button, and everybody else goes on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, table, waitFor } from '../support.ts';

const pool = newName('pool');
const profile = newName('profile');
const network = newName('n').replaceAll('-', '').slice(0, 12);
const created: string[] = [];
const added: number[] = [];

const stateOf = async (member: string) =>
  table((await lxc('cluster', 'list')).stdout)
    .rows.find(([name]) => name === member)
    ?.at(-2);
const untilState = (member: string, state: string) =>
  waitFor(`${member} to be ${state}`, async () => ((await stateOf(member)) === state ? true : undefined));
const statusOn3 = async (what: string) =>
  ((await lxcJson('query', `/1.0/${what}?target=host3`)) as { status: string }).status;
const succeed = async (...args: string[]) => {
  const ran = await lxc(...args);
  expect({ args, code: ran.code, said: ran.code === 0 ? '' : ran.stderr }).toEqual({ args, code: 0, said: '' });
  return ran.stdout;
};

beforeAll(async () => {
  await cluster.crash(3);
  await untilState('host3', 'OFFLINE');
});

afterAll(async () => {
  if ((await stateOf('host3')) !== 'ONLINE') {
    await cluster.boot(3).catch(() => {});
    await untilState('host3', 'ONLINE');
  }
  await removeInstances(created);
  await lxc('config', 'unset', 'user.while-off');
  await lxc('profile', 'delete', profile);
  await lxc('network', 'delete', network);
  await lxc('storage', 'delete', pool);
  for (const number of added) await cluster.removeHost(number);
});

describe('with host 3 switched off', () => {
  it('pools, networks, profiles and configuration are made and changed', async () => {
    expect(await succeed('storage', 'create', pool, 'dir')).toBe(`Storage pool ${pool} created\n`);
    expect(await succeed('network', 'create', network, 'ipv6.address=none')).toBe(`Network ${network} created\n`);
    expect(await succeed('profile', 'create', profile)).toBe(`Profile ${profile} created\n`);
    await succeed('config', 'set', 'user.while-off=yes');
    expect(await succeed('config', 'get', 'user.while-off')).toBe('yes\n');
    expect([await statusOn3(`storage-pools/${pool}`), await statusOn3(`networks/${network}`)]).toEqual([
      'Pending',
      'Pending',
    ]);
  });

  it('instances are launched, and host 2 is evacuated and restored', async () => {
    const [first, second] = [newName('off'), newName('off')];
    created.push(first, second);
    await succeed('launch', 'tiny', first, '--target', 'host2');
    await succeed('launch', 'tiny', second);
    await succeed('cluster', 'evacuate', 'host2', '--force');
    expect(await stateOf('host2')).toBe('EVACUATED');
    expect((await instancesOf([first, second])).map(({ location, status }) => `${status} on ${location}`)).toEqual([
      'Running on host1',
      'Running on host1',
    ]);
    await succeed('cluster', 'restore', 'host2', '--force');
    expect(await stateOf('host2')).toBe('ONLINE');
  });

  it('host 4 joins', async () => {
    const number = await cluster.addHost();
    added.push(number);
    expect(await stateOf(`host${number}`)).toBe('ONLINE');
  });

  it('host 3 has the new pool and network within ten seconds of its return, and then takes instances', async () => {
    const name = newName('back');
    created.push(name);
    const early = await lxc('launch', 'tiny', name, '--target', 'host3', '-s', pool);
    expect(early).toMatchObject({ code: 1 });
    await cluster.boot(3);
    await untilState('host3', 'ONLINE');
    for (const what of [`storage-pools/${pool}`, `networks/${network}`]) {
      await waitFor(`${what} on host3`, async () => ((await statusOn3(what)) === 'Created' ? true : undefined), 10_000);
    }
    await succeed('launch', 'tiny', name, '--target', 'host3', '-s', pool, '-n', network);
    expect((await instancesOf([name]))[0]).toMatchObject({ location: 'host3', status: 'Running' });
  });
});
