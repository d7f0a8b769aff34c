import { afterEach, beforeEach, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { cleanUp, forgetWork } from '#agent/leave/clean-up.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

let state: FakeHostState;
let host: Host;
beforeEach(async () => {
  state = createFakeState();
  host = createFakeHost(state);
  const context = fakeContext();
  await execute(host, context, { name: 'pool.create', params: { pool: poolSpec() } });
  const network = { network: networkSpec(), preferredIpv4: null, preferredIpv6: null };
  await execute(host, context, { name: 'network.create', params: network });
});
afterEach(() => state.cleanup());

it('takes away the pools and networks that were made for the cluster', async () => {
  expect(await cleanUp(host)).toEqual([]);
  expect(host.journal.pools.list()).toEqual([]);
  expect(host.journal.networks.list()).toEqual([]);
});

it('takes away nothing while an instance is there, whatever the control plane believed', async () => {
  const params = {
    spec: instanceSpec(),
    image: imageSource(),
    pool: poolSpec(),
    networks: [networkSpec()],
    start: true,
  };
  await execute(host, fakeContext(), { name: 'instance.create', params });
  expect(await cleanUp(host)).toEqual([expect.stringContaining('still on this host')]);
  expect(host.journal.pools.list()).toHaveLength(1);
  expect(host.journal.networks.list()).toHaveLength(1);
});

it('goes on with nothing that its cluster wanted, whether it had begun or not', () => {
  const { journal } = host;
  for (const id of ['begun', 'done']) journal.accept({ id, name: 'pool.create', params: { pool: poolSpec() } });
  journal.finish('done', { ok: true, result: { config: {} } });
  forgetWork(journal);
  expect(journal.listUnfinished()).toEqual([]);
  expect(journal.listUnacknowledged()).toEqual([]);
});

it('leaves a pool that cannot go, says so, and takes away the rest', async () => {
  const { open } = host.pools;
  host.pools.open = async (name) => ({
    ...(await open(name)),
    deletePool: () => Promise.reject(new Error('it is busy')),
  });
  expect(await cleanUp(host)).toEqual(['storage pool "local" stays: it is busy']);
  expect(host.journal.pools.list()).toHaveLength(1);
  expect(host.journal.networks.list()).toEqual([]);
});
