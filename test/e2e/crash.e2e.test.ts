import { afterAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';

const created: string[] = [];
afterAll(() => removeInstances(created));

describe('an agent that is killed while it launches', () => {
  // Moments from "before it can have accepted" to "may have finished".
  it.each([0, 15, 30, 60, 120, 250])(
    'after %i ms ends the operation, with the instance once or not at all',
    async (delayMs) => {
      const name = newName('crash');
      created.push(name);
      const body = JSON.stringify({
        name,
        type: 'container',
        start: true,
        config: {},
        devices: { root: { type: 'disk', path: '/', pool: 'tank' } },
        source: { type: 'image', alias: 'tiny' },
      });
      const { stdout } = await lxc('query', '--raw', '-X', 'POST', '-d', body, '/1.0/instances?target=host3');
      const { operation } = JSON.parse(stdout) as { operation: string };
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await cluster.host(3).killAgent();
      await cluster.host(3).startAgent();
      const ended = (await lxcJson('query', `${operation}/wait?timeout=60`)) as { status: string };
      expect(['Success', 'Failure']).toContain(ended.status);
      const there = await instancesOf([name]);
      expect(there).toHaveLength(ended.status === 'Success' ? 1 : 0);
      const datasets = (await cluster.host(3).exec(['zfs', 'list', '-H', '-o', 'name'])).stdout;
      expect(datasets.split('\n').filter((line) => line.endsWith(`/${name}`))).toHaveLength(there.length);
      if (there.length === 1) {
        await waitFor('it to run', async () =>
          (await instancesOf([name]))[0]?.status === 'Running' ? true : undefined,
        );
        expect((await lxc('exec', name, '--', 'true')).code).toBe(0);
      }
    },
  );

  it('keeps instances running over an agent’s stop and start', async () => {
    const name = newName('adopted');
    created.push(name);
    expect(await lxc('launch', 'tiny', name, '--target', 'host3')).toMatchObject({ code: 0 });
    const pid = async () => ((await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number }).pid;
    const before = await pid();
    await cluster.host(3).stopAgent();
    await cluster.host(3).startAgent();
    await waitFor(
      'host3 to be back',
      async () =>
        ((await lxcJson('query', '/1.0/cluster/members/host3')) as { status: string }).status === 'Online' || undefined,
    );
    expect(await pid()).toBe(before);
    expect((await lxc('exec', name, '--', 'true')).code).toBe(0);
  });
});
