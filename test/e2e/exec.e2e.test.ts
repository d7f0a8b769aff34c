import { spawn } from '@lydell/node-pty';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, newName, removeInstances, waitFor } from './support.ts';

const name = newName('exec');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(() => removeInstances([name]));

describe('lxc exec', () => {
  it('prints what the program prints, each stream on its own', async () => {
    const result = await lxc('exec', name, '--', 'sh', '-c', 'echo out; echo err >&2');
    expect(result).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 0 });
  });

  it('shows the address inside', async () => {
    const result = await lxc('exec', name, '--', 'ip', '-o', 'a');
    expect(result.stdout).toMatch(/eth0\s+inet 10\.\d+\.\d+\.\d+\/24/);
  });

  it.each([0, 1, 7, 42, 255])('passes exit code %i through', async (code) => {
    expect((await lxc('exec', name, '--', 'sh', '-c', `exit ${code}`)).code).toBe(code);
  });

  it('answers 137 for a program that was killed', async () => {
    expect((await lxc('exec', name, '--', 'sh', '-c', 'kill -9 $$')).code).toBe(137);
  });

  it.each([
    [127, 'that is not there', 'no-such-program', 'Command not found'],
    [127, 'that is not there, by path', '/nope', 'Command not found'],
    [127, 'without a name', '', 'Command not found'],
    [126, 'that is not executable', '/etc/passwd', 'Command not executable'],
    [126, 'that is a directory', '/etc', 'Command not executable'],
  ])('answers %i and LXD’s words, nothing else, for a program %s', async (code, _what, program, words) => {
    expect(await lxc('exec', name, '--', program)).toEqual({ stdout: '', stderr: `Error: ${words}\n`, code });
  });

  it('pipes standard input in and loses no byte of a large output', async () => {
    const input = 'x'.repeat(8 * 1024 * 1024);
    const result = await cluster.lxc(['exec', name, '--', 'cat'], { input });
    expect(result.code).toBe(0);
    expect(result.stdout.length).toBe(input.length);
    expect(result.stdout === input).toBe(true);
  });

  it('takes environment, working directory and user', async () => {
    const result = await lxc(
      'exec',
      name,
      '--env',
      'GREETING=hello world',
      '--cwd',
      '/tmp',
      '--user',
      '1000',
      '--',
      'sh',
      '-c',
      'echo "$GREETING"; pwd; id -u',
    );
    expect(result.stdout).toBe('hello world\n/tmp\n1000\n');
  });

  it('gives a terminal its size, follows a resize, and Ctrl-C interrupts', async () => {
    const [file, args, env] = cluster.lxcCommand(['exec', name, 'sh']);
    const terminal = spawn(file, args, { cols: 101, rows: 31, env: { ...env, TERM: 'xterm' } });
    let output = '';
    terminal.onData((data) => {
      output += data;
    });
    const exited = new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
    const see = (text: RegExp) => waitFor(`${text}`, async () => (text.test(output) ? true : undefined), 20_000);
    await see(/[#$] /);
    terminal.write('stty size\r');
    await see(/31 101/);
    terminal.resize(132, 50);
    terminal.write('sleep 0.5; stty size\r');
    await see(/50 132/);
    terminal.write('sleep 100; echo status=$?\r');
    await see(/sleep 100/);
    terminal.write('\u0003');
    await see(/status=130|\^C/);
    terminal.write('exit 9\r');
    expect(await exited).toBe(9);
    expect(output).not.toContain('\r\r\n');
  });

  it('refuses an instance that is not running with LXD’s text', async () => {
    const stopped = newName('stopped');
    expect((await lxc('init', 'tiny', stopped)).code).toBe(0);
    const result = await lxc('exec', stopped, '--', 'true');
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain('Instance is not running');
    await removeInstances([stopped]);
  });
});
