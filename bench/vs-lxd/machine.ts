/** What a figure is worth nothing without: the machine, and which versions ran. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { repository } from '#selfhost/paths.ts';
import { run } from '#selfhost/run.ts';

/** Two lines: the machine, the versions. */
export async function describeMachine(): Promise<string> {
  const [lxd, client, liblxc, commit] = await Promise.all([
    firstLine('lxd', '--version'),
    firstLine('lxc', '--version'),
    firstLine('lxc-start', '--version'),
    firstLine('git', '-C', repository, 'rev-parse', '--short', 'HEAD'),
  ]);
  const gibibytes = Math.round(os.totalmem() / 2 ** 30);
  const cores = os.cpus();
  return [
    `${cores.length} cores (${cores[0]?.model.trim() ?? os.arch()}), ${gibibytes} GiB, Linux ${os.release()}, ${distribution()}`,
    `Longshore ${commit}, LXD ${lxd}, lxc client ${client}, liblxc ${liblxc}, Node ${process.versions.node}`,
  ].join('\n');
}

/** `unknown` where the program has nothing to say. */
async function firstLine(file: string, ...args: string[]): Promise<string> {
  const answer = await run(file, args, { allowFailure: true }).catch(() => undefined);
  return answer?.stdout.split('\n')[0]?.trim() || 'unknown';
}

const distribution = (): string =>
  /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown distribution';
