import { type IPty, spawn } from '@lydell/node-pty';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { api } from './api.ts';
import { addIncusRemote, type Incus } from './clients/incus.ts';
import { cluster, lxc, newName, removeInstances, waitFor } from './support.ts';

const name = newName('console');
let incus: Incus;
beforeAll(async () => {
  incus = await addIncusRemote(newName('console-client'));
  expect(await lxc('launch', 'tiny', name)).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await removeInstances([name]);
  await incus.remove();
});

/** A client on a terminal. */
function onTerminal([file, args, env]: [string, string[], Record<string, string>]) {
  const terminal: IPty = spawn(file, args, { cols: 80, rows: 24, env: { ...process.env, ...env, TERM: 'xterm' } });
  let screen = '';
  terminal.onData((data) => {
    screen += data;
  });
  let code: number | undefined;
  terminal.onExit(({ exitCode }) => {
    code = exitCode;
  });
  return {
    type: (text: string) => terminal.write(text),
    until: (text: string) =>
      waitFor(`"${text}" on the screen`, async () => screen.includes(text) || undefined).catch((error: unknown) => {
        throw new Error(`The screen shows only: ${screen}`, { cause: error });
      }),
    exited: () => waitFor('the client to end', async () => code),
    /** Ctrl-A q. Clients look at the first of the keys that come at once, so the second is pressed until it is seen. */
    leave: () => {
      terminal.write('\x01');
      return waitFor('the client to end', async () => {
        if (code === undefined) terminal.write('q');
        return code;
      });
    },
  };
}

const inside = (script: string) => lxc('exec', name, '--', 'sh', '-c', script);

describe('a console', () => {
  it.each([
    ['lxc', () => cluster.lxcCommand(['console', name])],
    ['incus', () => incus.command(['console', name])],
  ])('shows what is written to it, takes what is typed, and is left with ctrl-a q: %s', async (client, command) => {
    const { type, until, leave } = onTerminal(command());
    await until('ctrl');
    expect(await inside(`echo seen by ${client} > /dev/console`)).toMatchObject({ code: 0 });
    await until(`seen by ${client}`);
    // A login waits there: it asks for a password once it has a name.
    type('\r');
    await until('login: ');
    type('somebody\r');
    await until('Password: ');
    expect(await leave()).toBe(0);
    expect((await lxc('list', name, '--format', 'csv', '--columns', 's')).stdout).toBe('RUNNING\n');
  });

  it('lets one in at a time, and says so to the other', async () => {
    const first = onTerminal(cluster.lxcCommand(['console', name]));
    await first.until('ctrl');
    await inside('echo first is in > /dev/console');
    await first.until('first is in');
    const second = onTerminal(cluster.lxcCommand(['console', name]));
    await second.until('The console is in use already');
    expect(await second.exited()).toBe(1);
    expect(await first.leave()).toBe(0);
  });

  it('keeps what was on it', async () => {
    expect((await lxc('console', name, '--show-log')).stdout).toContain('seen by lxc');
    expect(await incus.ok('console', name, '--show-log')).toContain('seen by incus');
  });

  it('ends with the instance', async () => {
    const { until, exited } = onTerminal(cluster.lxcCommand(['console', name]));
    await until('ctrl');
    await inside('echo joined > /dev/console');
    await until('joined');
    expect(await lxc('stop', '--force', name)).toMatchObject({ code: 0 });
    expect(await exited()).toBe(0);
    const refused = await api({ method: 'POST', path: `/1.0/instances/${name}/console`, body: '{"type":"console"}' });
    expect(refused).toMatchObject({ status: 400, body: { error: 'Instance is not running' } });
    expect((await lxc('console', name, '--show-log')).stdout).toContain('joined');
  });
});
