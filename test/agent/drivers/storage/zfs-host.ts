/**
 * ZFS for the tests. Where the kernel has it, that is used. Elsewhere zfs-fuse is started in a mount namespace of its own:
 * there is one daemon per namespace, and a daemon of the machine's own must not see these pools. The test file runs itself
 * again inside.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { onTestFinished, vi } from 'vitest';
import { exec } from '#agent/system/exec.ts';

const INSIDE = 'LONGSHORE_TEST_ZFS_NAMESPACE';

/** True where the tests themselves can run. */
export const hasZfs = existsSync('/sys/module/zfs') || process.env[INSIDE] === '1';

/** Runs `file` again where zfs-fuse can be started; resolves with its exit code and report. */
export async function runInNamespace(file: string): Promise<{ code: number | null; report: string }> {
  const child = spawn(
    'unshare',
    [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      process.execPath,
      'node_modules/vitest/vitest.mjs',
    ].concat(['run', '--project', 'root', file]),
    { env: { ...process.env, [INSIDE]: '1', VITEST: undefined, NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  // With it goes everything inside, the daemon too.
  onTestFinished(() => void child.kill('SIGKILL'));
  let report = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      report += chunk.toString();
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, report };
}

let daemon: ChildProcess | undefined;

/** Starts the daemon of this namespace; nothing to do with a kernel that has ZFS. */
export async function startZfs(): Promise<void> {
  if (process.env[INSIDE] !== '1') return;
  await exec('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  await mkdir('/run/zfs', { recursive: true });
  await mkdir('/run/lock/zfs', { recursive: true });
  await mkdir('/var/lib/zfs', { recursive: true });
  await exec('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib/zfs']);
  daemon = spawn('zfs-fuse', ['--no-daemon', '--no-kstat-mount', '-m', '128', '-a', '1', '-e', '1'], {
    stdio: 'ignore',
  });
  await vi.waitFor(() => exec('zpool', ['list']), { timeout: 10_000, interval: 20 });
}

/** Ends the daemon, and waits until it has gone. */
export async function stopZfs(): Promise<void> {
  if (daemon === undefined || daemon.exitCode !== null) return;
  const gone = new Promise((resolve) => daemon?.once('close', resolve));
  daemon.kill('SIGTERM');
  await gone;
}
