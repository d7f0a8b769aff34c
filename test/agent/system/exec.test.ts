import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ExecError, exec } from '#agent/system/exec.ts';

const failure = async (call: Promise<unknown>): Promise<ExecError> => {
  const error = await call.then(
    () => null,
    (it: unknown) => it,
  );
  if (!(error instanceof ExecError)) throw new Error('it did not fail as a program fails');
  return error;
};

const children = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      } catch {
        return false;
      }
    });

describe('a program', () => {
  it('answers what it wrote, without the last line break', async () => {
    expect(await exec('sh', ['-c', 'echo one; echo two; echo three >&2'])).toEqual({
      stdout: 'one\ntwo',
      stderr: 'three',
      exitCode: 0,
    });
  });

  it('gets its arguments as they are, the C locale, and "/" to work in', async () => {
    const script = 'printf "%s|%s|%s|%s" "$1" "$2" "$LC_ALL" "$PWD"';
    const { stdout } = await exec('sh', ['-c', script, 'sh', 'a b', '$(x)', '']);
    expect(stdout).toBe('a b|$(x)|C.UTF-8|/');
  });

  it('gets the environment of this process and what is added, and the input', async () => {
    const { stdout } = await exec('sh', ['-c', 'cat; echo "$OWN $HOME"'], { input: 'in\n', env: { OWN: 'x' } });
    expect(stdout).toBe(`in\nx ${process.env.HOME ?? ''}`);
  });

  it('sees an empty input and no file that this process has open', async () => {
    const fd = openSync('/etc/hostname', 'r');
    const { stdout } = await exec('sh', ['-c', 'cat; ls -l /proc/self/fd']);
    closeSync(fd);
    expect(stdout).toContain('0 -> /dev/null');
    expect(stdout).not.toContain('/etc/hostname');
  });

  it('dies of a signal that this process ignores', async () => {
    expect(await failure(exec('sh', ['-c', 'kill -PIPE $$; echo alive']))).toMatchObject({ exitCode: undefined });
  });

  it('fails with its code and the last line of its complaint', async () => {
    const error = await failure(exec('sh', ['-c', 'echo first >&2; echo last >&2; exit 3']));
    expect(error).toMatchObject({ message: 'sh failed with code 3: last', exitCode: 3, stderr: 'first\nlast' });
    expect((await exec('sh', ['-c', 'exit 3'], { okExitCodes: [0, 3] })).exitCode).toBe(3);
  });

  it('that is not there, or may not be run, is an error like any other', async () => {
    expect((await failure(exec('no-such-program', []))).message).toBe(
      'no-such-program failed: spawn no-such-program ENOENT',
    );
    expect((await failure(exec('/etc/passwd', []))).message).toContain('EACCES');
    expect((await failure(exec('sh', ['-c', 'a\0b']))).message).toContain('EINVAL');
  });

  it('killed by a signal has no code', async () => {
    expect(await failure(exec('sh', ['-c', 'kill -9 $$']))).toMatchObject({ exitCode: undefined });
  });

  it('is ended when its time is over, and when it is cancelled', async () => {
    const late = await failure(exec('sleep', ['60'], { timeoutMs: 50 }));
    expect(late.message).toBe('sleep failed: timed out');
    const abort = new AbortController();
    const cancelled = failure(exec('sleep', ['60'], { signal: abort.signal }));
    abort.abort();
    expect((await cancelled).exitCode).toBeUndefined();
    expect((await failure(exec('sleep', ['60'], { signal: abort.signal }))).exitCode).toBeUndefined();
  });

  it('may write more than a pipe holds, and many may run at once', async () => {
    const many = Array.from({ length: 20 }, (_, index) =>
      exec('sh', ['-c', `head -c 300000 /dev/zero; exit ${index}`], {
        okExitCodes: [index],
      }),
    );
    const results = await Promise.all(many);
    expect(results.map(({ stdout, exitCode }) => [stdout.length, exitCode])).toEqual(
      results.map((_, index) => [300_000, index]),
    );
    expect(children()).toEqual([]);
  });
});
