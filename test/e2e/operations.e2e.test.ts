import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';

const name = newName('operations');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name, '--target', 'host1')).code).toBe(0);
});
afterAll(() => removeInstances([name]));

interface Operation {
  id: string;
  status: string;
  status_code: number;
  metadata: { return?: number } | null;
}

/** Starts a program through the control plane without waiting for it; answers the operation. */
async function startExec(command: string[]): Promise<string> {
  const body = JSON.stringify({ command, 'wait-for-websocket': false, interactive: false, environment: {} });
  const { stdout } = await lxc('query', '--raw', '-X', 'POST', '-d', body, `/1.0/instances/${name}/exec`);
  return (JSON.parse(stdout) as { operation: string }).operation;
}

describe('an operation', () => {
  it('that was started at the control plane is seen and waited for through every host’s socket', async () => {
    const operation = await startExec(['sh', '-c', 'sleep 2; exit 3']);
    const waits = [1, 2, 3].map(async (host) => {
      const { stdout, code } = await cluster.host(host).exec(['lxc', 'query', `local:${operation}/wait?timeout=30`]);
      expect(code).toBe(0);
      return JSON.parse(stdout) as Operation;
    });
    for (const operationSeen of await Promise.all(waits)) {
      expect(operationSeen).toMatchObject({ status_code: 200, metadata: { return: 3 } });
    }
    // LXD forgets after 5 s and only on the member that ran it.
    expect(await lxcJson('query', operation)).toMatchObject({ status: 'Success' });
  });

  it('that was started through one host’s socket is cancelled through another’s', async () => {
    const body = JSON.stringify({
      name: newName('cancelled'),
      type: 'container',
      source: { type: 'image', alias: 'debian/12' },
      devices: {},
      config: {},
    });
    const post = await cluster
      .host(1)
      .exec(['lxc', 'query', '--raw', '-X', 'POST', '-d', body, 'local:/1.0/instances?target=host3']);
    const { operation, metadata } = JSON.parse(post.stdout) as { operation: string; metadata: { may_cancel: boolean } };
    expect(metadata.may_cancel).toBe(true);
    const cancel = await cluster.host(2).exec(['lxc', 'query', '--raw', '-X', 'DELETE', `local:${operation}`]);
    const answer = JSON.parse(cancel.stdout) as { error_code: number };
    const ended = (await lxcJson('query', `${operation}/wait?timeout=60`)) as Operation;
    // Either it was still cancellable, or it had ended before: never half of each.
    if (answer.error_code === 0) expect(['Cancelled', 'Success']).toContain(ended.status);
    else expect(ended.status).toBe('Success');
    const created = (await lxcJson('query', '/1.0/instances')) as string[];
    const wanted = (JSON.parse(body) as { name: string }).name;
    expect(created.includes(`/1.0/instances/${wanted}`)).toBe(ended.status === 'Success');
    await removeInstances([wanted]);
  });
});

describe('the local socket of a host', () => {
  it('lists and runs programs in an instance of another host, with no remote set up', async () => {
    const list = await cluster.host(2).exec(['lxc', 'list', '--format', 'csv', '-c', 'nsL']);
    expect(list.stdout).toContain(`${name},RUNNING,host1`);
    const exec = await cluster.host(2).exec(['lxc', 'exec', name, '--', 'sh', '-c', 'echo from afar; exit 5']);
    expect(exec).toMatchObject({ stdout: 'from afar\n', code: 5 });
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
    await waitFor('the file to be there', async () => inside.stdout.length > 0 || undefined);
  });
});
