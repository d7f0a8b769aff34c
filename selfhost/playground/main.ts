/** `bin/playground`: works on the hosts of the `npm start` that runs. */
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { inState } from '../paths.ts';
import { describeHost, enterCommand, hostEnv } from './host.ts';
import { netOf } from './network.ts';
import { Info, Status, socketOf } from './remote.ts';
import { ask, Verb } from './rpc.ts';

const USAGE = `Usage: bin/playground COMMAND

  status          the hosts, their power, cable and agent
  exec N CMD…     run a program in host N; lxc there uses the host's own socket
  add             one more host, joined by a fresh token
  cut N           unplug host N's network
  heal N          plug it in again
  crash N         cut host N's power
  boot N          switch it on again
`;

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main([command, ...args]: string[]): Promise<number> {
  switch (command) {
    case 'status':
      return showStatus();
    case 'exec':
      return exec(hostNumber(args[0]), args.slice(1));
    case 'add':
      process.stdout.write(`${String(await ask(socket(), { verb: 'add' }))} joined\n`);
      return 0;
    case 'cut':
    case 'heal':
    case 'crash':
    case 'boot':
      await ask(socket(), { verb: Verb.parse(command), host: hostNumber(args[0]) });
      return 0;
    default:
      process.stderr.write(USAGE);
      return command === undefined || command === 'help' || command === '--help' ? 0 : 2;
  }
}

function socket(): string {
  const current = inState('current');
  if (!existsSync(current)) throw new Error('The playground does not run: npm start');
  return socketOf(realpathSync(current));
}

function hostNumber(text: string | undefined): number {
  const match = /^(?:host)?(\d+)$/.exec(text ?? '');
  if (match === null) throw new Error(`Which host? A number, as in: bin/playground exec 2 lxc list`);
  return Number(match[1]);
}

async function showStatus(): Promise<number> {
  const hosts = Status.parse(await ask(socket(), { verb: 'status' }));
  const rows = hosts.map(({ name, power, cable, agentPid }) => [
    name,
    power,
    cable,
    agentPid === null ? '-' : `${agentPid}`,
  ]);
  for (const [name, power, cable, agent] of [['HOST', 'POWER', 'CABLE', 'AGENT PID'], ...rows]) {
    process.stdout.write(`${name?.padEnd(9)}${power?.padEnd(7)}${cable?.padEnd(11)}${agent}\n`);
  }
  return 0;
}

/** On this terminal, with the program's own exit code; 128 + n when signal n ended it, as shells say. */
async function exec(number: number, argv: string[]): Promise<number> {
  if (argv.length === 0) throw new Error('Which program? As in: bin/playground exec 2 lxc list');
  const info = Info.parse(await ask(socket(), { verb: 'info' }));
  const host = describeHost(netOf(info.octet), info.runDir, number);
  if (!existsSync(path.join(host.dir))) throw new Error(`There is no host${number}`);
  const { file, args } = enterCommand(host, argv, process.cwd());
  const child = spawn(file, args, { stdio: 'inherit', env: hostEnv() });
  // Ctrl-C is for the program inside, which gets it from the terminal as well.
  process.on('SIGINT', () => {});
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)));
  });
}
