/** Operations belong to the cluster, not to the member or the way in that started them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { api } from './api.ts';
import { cluster, lxc, lxcJson, newName, newNames, type Ran, removeInstances, waitFor } from './support.ts';
import { tracesOf } from './traces.ts';

const name = newName('operations');
const created = [name];
beforeAll(async () => {
  expect(await lxc('launch', 'tiny', name, '--target', 'host1')).toMatchObject({ code: 0 });
});
afterAll(() => removeInstances(created));

interface Operation {
  id: string;
  status: string;
  status_code: number;
  may_cancel: boolean;
  metadata: { return?: number } | null;
}
interface Answer {
  operation: string;
  metadata: Operation;
}

/** A way in: `lxc query` at the control plane, or at a host's own socket. */
interface Entry {
  called: string;
  /** The envelope; throws the error's text. */
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
  /** `lxc operation list`, as it shows there. */
  list(): Promise<string>;
}

function entryOf(called: string, run: (args: string[]) => Promise<Ran>, remote: string): Entry {
  return {
    called,
    ask: async (method, path, body) => {
      const data = body === undefined ? [] : ['-d', JSON.stringify(body)];
      const { stdout, stderr, code } = await run(['query', '--raw', '-X', method, ...data, `${remote}${path}`]);
      if (code !== 0) throw new Error(stderr);
      return JSON.parse(stdout) as Answer;
    },
    list: async () => (await run(['operation', 'list', remote, '--format', 'csv'])).stdout,
  };
}

const controlPlane = entryOf('the control plane', (args) => lxc(...args), '');
const [host1, host2, host3] = [1, 2, 3].map((host) =>
  entryOf(`the socket of host${host}`, (args) => cluster.host(host).exec(['lxc', ...args]), 'local:'),
) as [Entry, Entry, Entry];
const ENTRIES = [controlPlane, host1, host2, host3];
const named = (entries: Entry[]): [string, Entry][] => entries.map((entry) => [entry.called, entry]);

const waitThrough = async (entry: Entry, operation: string) =>
  (await entry.ask('GET', `${operation}/wait?timeout=60`)).metadata;

/** Asks through `entry` for an instance on host 3. */
async function create(entry: Entry, instance: string): Promise<Answer> {
  created.push(instance);
  return await entry.ask('POST', '/1.0/instances?target=host3', {
    name: instance,
    type: 'container',
    source: { type: 'image', alias: 'tiny' },
    devices: {},
    config: {},
  });
}

async function expectNothingOf(instance: string): Promise<void> {
  expect(await api({ method: 'GET', path: `/1.0/instances/${instance}` })).toMatchObject({ status: 404 });
  await waitFor('host3 to have nothing of it', async () => {
    const { interfaces: _counted, ...left } = await tracesOf(3, instance);
    return Object.values(left).every((lines) => lines.length === 0) || undefined;
  });
}

const untilMember = (member: string, status: string) =>
  waitFor(`${member} to be ${status}`, async () => {
    const now = (await lxcJson('query', `/1.0/cluster/members/${member}`)) as { status: string };
    return now.status === status || undefined;
  });

describe('an operation', () => {
  it.each(named(ENTRIES))(
    'that was started through %s is seen and waited for through every other',
    async (_, entry) => {
      const command = ['sh', '-c', 'until [ -e /root/go ]; do sleep 0.1; done; rm /root/go; exit 3'];
      const { operation } = await entry.ask('POST', `/1.0/instances/${name}/exec`, {
        command,
        'wait-for-websocket': false,
        interactive: false,
        environment: {},
      });
      for (const other of ENTRIES) {
        expect((await other.ask('GET', operation)).metadata).toMatchObject({ status: 'Running', may_cancel: false });
        expect(await other.list()).toContain(operation.split('/').at(-1));
      }
      const waits = ENTRIES.map((other) => waitThrough(other, operation));
      expect(await lxc('exec', name, '--', 'touch', '/root/go')).toMatchObject({ code: 0 });
      for (const ended of await Promise.all(waits)) {
        expect(ended).toMatchObject({ status_code: 200, metadata: { return: 3 } });
      }
      // LXD forgets after 5 s and only on the member that ran it.
      expect((await entry.ask('GET', operation)).metadata).toMatchObject({ status: 'Success' });
    },
  );

  it.each([
    ['the control plane', 'a host’s socket', controlPlane, host1],
    ['a host’s socket', 'another host’s', host1, host2],
    ['a host’s socket', 'the control plane', host2, controlPlane],
  ])('that was started through %s is cancelled through %s', async (_from, _to, start, cancel) => {
    const instance = newName('cancelled');
    // Its host hangs, so the operation cannot end before it is cancelled.
    await cluster.host(3).pauseAgent();
    const { operation, metadata } = await create(start, instance);
    expect(metadata).toMatchObject({ may_cancel: true, status: 'Running' });
    const seen = [controlPlane, host1, host2].map((entry) => waitThrough(entry, operation));
    expect(await cancel.ask('DELETE', operation)).toMatchObject({ type: 'sync', status_code: 200 });
    expect((await start.ask('GET', operation)).metadata).toMatchObject({ status: 'Cancelling' });
    await cluster.host(3).resumeAgent();
    for (const ended of await Promise.all(seen)) expect(ended).toMatchObject({ status: 'Cancelled', status_code: 401 });
    await expect(cancel.ask('DELETE', operation)).rejects.toThrow('Only running operations can be cancelled');
    await expectNothingOf(instance);
  });

  it('that was cancelled is not carried out by a host that lost the link meanwhile', async () => {
    const instance = newName('cancelled');
    await cluster.host(3).pauseAgent();
    const { operation } = await create(controlPlane, instance);
    expect(await controlPlane.ask('DELETE', operation)).toMatchObject({ status_code: 200 });
    // Command and cancel die with the process; a new one comes back within the grace of a closed link.
    await cluster.host(3).killAgent();
    await cluster.host(3).startAgent();
    expect(await waitThrough(host1, operation)).toMatchObject({ status: 'Cancelled' });
    await expectNothingOf(instance);
  });

  it('that was cancelled ends when its host goes away, and the host does not carry it out on return', async () => {
    const instance = newName('cancelled');
    await cluster.host(3).pauseAgent();
    const { operation } = await create(controlPlane, instance);
    expect(await controlPlane.ask('DELETE', operation)).toMatchObject({ status_code: 200 });
    await cluster.host(3).killAgent();
    await untilMember('host3', 'Offline');
    expect(await waitThrough(host1, operation)).toMatchObject({ status: 'Cancelled' });
    await cluster.host(3).startAgent();
    await untilMember('host3', 'Online');
    await expectNothingOf(instance);
  });

  it('is refused in LXD’s words when it cannot be cancelled, or is none', async () => {
    const { operation } = await host1.ask('POST', `/1.0/instances/${name}/exec`, {
      command: ['sleep', '60'],
      'wait-for-websocket': false,
      interactive: false,
      environment: {},
    });
    await expect(host2.ask('DELETE', operation)).rejects.toThrow("This operation can't be cancelled");
    expect(await lxc('exec', name, '--', 'killall', 'sleep')).toMatchObject({ code: 0 });
    await waitThrough(host2, operation);
    await expect(host2.ask('DELETE', '/1.0/operations/nope')).rejects.toThrow('Operation not found');
  });
});

describe('the local socket of a host', () => {
  it('lists and runs programs in an instance of another host, with no remote set up', async () => {
    const list = await cluster.host(2).exec(['lxc', 'list', '--format', 'csv', '-c', 'nsL']);
    expect(list.stdout).toContain(`${name},RUNNING,host1`);
    const exec = await cluster.host(2).exec(['lxc', 'exec', name, '--', 'sh', '-c', 'echo from afar; exit 5']);
    expect(exec).toMatchObject({ stdout: 'from afar\n', code: 5 });
  });

  it('launches, stops and deletes on another host', async () => {
    const [instance = ''] = newNames('afar', 1);
    created.push(instance);
    const on2 = (...args: string[]) => cluster.host(2).exec(['lxc', ...args]);
    expect(await on2('launch', 'tiny', instance, '--target', 'host3')).toMatchObject({ code: 0 });
    expect((await on2('list', '--format', 'csv', '-c', 'sL', instance)).stdout).toBe('RUNNING,host3\n');
    expect(await on2('stop', '-f', instance)).toMatchObject({ code: 0 });
    expect(await on2('delete', instance)).toMatchObject({ code: 0 });
  });

  it('passes a 10 MB file through', async () => {
    const host = cluster.host(3);
    const path = `/tmp/${newName('blob')}`;
    await host.exec(['dd', 'if=/dev/urandom', `of=${path}`, 'bs=1000000', 'count=10']);
    expect(await host.exec(['lxc', 'file', 'push', path, `${name}/root/blob`])).toMatchObject({ code: 0 });
    const inside = await lxc('exec', name, '--', 'sha256sum', '/root/blob');
    const outside = await host.exec(['sha256sum', path]);
    expect(inside.stdout.split(' ')[0]).toBe(outside.stdout.split(' ')[0]);
    await host.exec(['rm', path]);
  });
});
