/** The control plane is killed in the middle of 200 launches. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootControl, crashControl } from '#selfhost/playground/cluster.ts';
import { waitFor } from '#selfhost/wait.ts';
import { ask, type Fate, follow, launchBody } from '#test/faults/operations.ts';
import { listInstances, namesOn } from '#test/faults/verdict.ts';
import { STEM } from '#test/faults/workload.ts';
import { startWorld, type World } from '#test/faults/world.ts';

const LAUNCHES = 200;
/** So many are answered when it is killed. */
const KILL_AFTER = 60;
const SETTLE_MS = 150_000;

let world: World;
beforeAll(async () => {
  world = await startWorld();
}, 120_000);
afterAll(() => world?.stop());

it('ends every launch that was answered, and the hosts have exactly the successful ones', {
  timeout: 300_000,
}, async () => {
  const names = Array.from({ length: LAUNCHES }, (_, index) => `${STEM}-s${index}`);
  let answered = 0;
  const asked = names.map(async (name) => {
    const id = await ask(world, 'POST', '/1.0/instances', launchBody(name, 'default'));
    if (id !== null) answered += 1;
    return { name, id };
  });
  await waitFor('some launches to be answered', () => answered >= KILL_AFTER, { timeoutMs: 60_000 });
  await crashControl(world.playground);
  await bootControl(world.playground);

  const deadline = Date.now() + SETTLE_MS;
  const launches = await Promise.all(asked);
  const fates = await Promise.all(
    launches.map(
      async ({ name, id }): Promise<{ name: string; fate: Fate | 'unanswered' }> => ({
        name,
        fate: id === null ? 'unanswered' : await follow(world, id, () => Date.now() > deadline),
      }),
    ),
  );
  expect(fates.filter(({ fate }) => fate === 'lost')).toEqual([]);
  expect(fates.filter(({ fate }) => fate === 'Success').length).toBeGreaterThan(0);

  // A launch whose answer was lost may have been accepted: it ends as well, and counts like the others.
  await waitFor(
    'every operation to end',
    async () => {
      const { body } = await world.api('GET', '/1.0/operations').catch(() => ({ body: { metadata: null } }));
      return typeof body.metadata === 'object' && body.metadata !== null && !('running' in body.metadata);
    },
    { timeoutMs: SETTLE_MS, everyMs: 500 },
  );
  const listed = await listInstances(world);
  const there = new Set(listed.map(({ name }) => name));
  for (const { name, fate } of fates) {
    if (fate === 'Success') expect(there).toContain(name);
    if (fate === 'Failure') expect(there).not.toContain(name);
  }
  expect(listed.filter(({ status }) => status !== 'Running')).toEqual([]);
  for (const host of world.hosts) {
    const here = listed.filter(({ location }) => location === `host${host}`).map(({ name }) => name);
    expect((await namesOn(world, host)).sort()).toEqual(here.sort());
  }
});
