/** Bodies of every form to every route of a live control plane, as an administrator: nobody else gets as far. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { residentBytes } from '#selfhost/processes.ts';
import { arbitraryOf } from './arbitrary.ts';
import { each, faultOf, type Sender, tried } from './client.ts';
import { fuzzAsync, SEED } from './fuzz.ts';
import { type Plane, startPlane } from './plane.ts';
import { listRoutes, type RouteUnderTest } from './routes.ts';
import { existing } from './world.ts';

let plane: Plane;
let admin: Sender;
beforeAll(async () => {
  plane = await startPlane();
  admin = plane.as(plane.admin);
});
afterAll(async () => {
  await plane?.stop();
  console.log(`bodies: ${tried.requests} requests sent, seed ${SEED}`);
});

const routes = listRoutes();
/** The old names of instances lead to the same handlers. */
const isAlias = ({ path }: RouteUnderTest) => /^\/1\.0\/(containers|virtual-machines)\b/.test(path);
const COUNT = 40;

async function sendBodies(route: RouteUnderTest & { body: NonNullable<RouteUnderTest['body']> }): Promise<void> {
  const { method, path } = route;
  await fuzzAsync(arbitraryOf(route.body), { count: isAlias(route) ? 8 : COUNT, lanes: 4 }, async (value) => {
    const body = JSON.stringify(value) ?? '';
    const sent = { method, path: existing(path), body };
    expect(faultOf(path, await admin.send(sent))).toBeNull();
  });
}

it('answers every body, and reads well what it took', async () => {
  const pid = plane.control.workerPid();
  const withBody = routes.flatMap((route) => (route.body === null ? [] : [{ ...route, body: route.body }]));
  // Once, so that everything is loaded; from then on it may not grow.
  for (const route of withBody.slice(0, withBody.length / 2)) await sendBodies(route);
  const before = residentBytes(pid ?? 0);
  for (const route of withBody.slice(withBody.length / 2)) await sendBodies(route);
  expect(plane.control.workerPid()).toBe(pid);
  expect(residentBytes(pid ?? 0) - before).toBeLessThan(96 * 2 ** 20);

  const lists = routes.filter(({ method, path }) => method === 'GET' && !path.includes('{'));
  const faults: string[] = [];
  await each(
    lists.flatMap(({ path }) => ['', '?recursion=1', '?recursion=2&all-projects=true'].map((query) => path + query)),
    async (path) => {
      const fault = faultOf(path, await admin.send({ method: 'GET', path }));
      if (fault !== null) faults.push(`${path}: ${fault}`);
    },
  );
  expect(faults).toEqual([]);
});
