/** The shortest way through the whole product; when this fails, read nothing else. */
import { afterAll, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, newNames, removeInstances, waitFor } from './support.ts';

const names = newNames('smoke', 3);
afterAll(() => removeInstances(names));

it('launches three instances, one on each host, and runs a program in each', async () => {
  for (const name of names) expect(await lxc('launch', 'tiny', name)).toMatchObject({ code: 0 });
  const instances = await instancesOf(names);
  expect(instances.map((instance) => instance.location).sort()).toEqual(['host1', 'host2', 'host3']);
  for (const name of names) {
    expect(await lxc('exec', name, '--', 'hostname')).toMatchObject({ stdout: `${name}\n`, code: 0 });
  }
});

it('boots a Debian with systemd to running, unprivileged', async () => {
  const [name = ''] = newNames('debian', 1);
  names.push(name);
  expect(await lxc('launch', 'debian/12', name)).toMatchObject({ code: 0 });
  expect((await lxc('exec', name, '--', 'systemctl', 'is-system-running', '--wait')).stdout).toBe('running\n');
  const [inside, outside] = (await lxc('exec', name, '--', 'cat', '/proc/1/uid_map')).stdout.trim().split(/\s+/);
  expect(inside).toBe('0');
  expect(Number(outside)).toBeGreaterThan(0);
});

it('comes back after a power cut: the host is online again, and its instances are as they were', async () => {
  const [name = ''] = newNames('cut', 1);
  names.push(name);
  expect(await lxc('launch', 'tiny', name, '--target', 'host2')).toMatchObject({ code: 0 });
  await cluster.crash(2);
  await cluster.boot(2);
  await waitFor(`${name} to run again`, async () =>
    (await lxc('exec', name, '--', 'true')).code === 0 ? true : undefined,
  );
});
