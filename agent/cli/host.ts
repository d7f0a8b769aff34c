/** What `join` and `init` share: where things are kept, and what a join works with on a real host. */
import { existsSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DEFAULT_CONFIG_PATH, DEFAULT_RUN_DIR } from '../config.ts';
import { createHostReader } from '../inventory/host.ts';
import { joinPaths } from '../join/files.ts';
import type { JoinDeps, JoinOptions } from '../join/join.ts';
import { type MemberConfig, parseMemberFlag, type Question } from '../join/member-config.ts';
import { chooseSocketPaths } from '../join/sockets.ts';
import type { Terminal } from '../prompt/terminal.ts';
import { exec } from '../system/exec.ts';

/** Flags of both commands. */
export const HOST_ARGS = {
  'config-dir': {
    type: 'string',
    description: 'Where configuration and key are kept',
    default: dirname(process.env.LONGSHORE_CONFIG ?? DEFAULT_CONFIG_PATH),
  },
  'data-dir': { type: 'string', description: 'Where the agent keeps its data' },
  'run-dir': { type: 'string', description: 'For sockets and pid files, lost at a reboot' },
  'log-dir': { type: 'string', description: 'For logs of instances' },
  socket: { type: 'string', description: 'Unix sockets of the local API, separated by commas' },
  service: { type: 'boolean', description: 'Install and start the systemd unit', default: true },
  steps: { type: 'boolean', description: 'Tell each step of the join on stderr, ahead of it', default: false },
} as const;

interface HostArgs {
  'config-dir': string;
  'data-dir'?: string | undefined;
  'run-dir'?: string | undefined;
  'log-dir'?: string | undefined;
  socket?: string | undefined;
  service: boolean;
}

/** The part of a join's options that says where on this host. */
export async function readPlaces(
  args: HostArgs,
): Promise<Pick<JoinOptions, 'configDir' | 'settings' | 'launcher' | 'service'>> {
  const configDir = args['config-dir'];
  const runDir = args['run-dir'] ?? DEFAULT_RUN_DIR;
  const socketPaths = args.socket?.split(',') ?? (await chooseSocketPaths(joinPaths(configDir).config, runDir));
  return {
    configDir,
    settings: {
      ...(args['data-dir'] === undefined ? {} : { dataDir: args['data-dir'] }),
      ...(args['run-dir'] === undefined ? {} : { runDir: args['run-dir'] }),
      ...(args['log-dir'] === undefined ? {} : { logDir: args['log-dir'] }),
      ...(socketPaths === undefined ? {} : { socketPaths }),
    },
    launcher: process.env.LONGSHORE_LAUNCHER ?? '/usr/local/bin/longshore',
    service: args.service,
  };
}

/** `--storage pool:key=value` and `--network name:key=value`, each as often as needed. */
export function readMemberFlags(rawArgs: readonly string[]): MemberConfig {
  return rawArgs.flatMap((arg, index) => {
    const match = /^--(storage|network)(?:=(.*))?$/.exec(arg);
    if (match === null) return [];
    const entity = match[1] === 'storage' ? 'storage-pool' : 'network';
    return [parseMemberFlag(entity, match[2] ?? rawArgs[index + 1] ?? '')];
  });
}

/** A real host. Without a terminal nothing is asked: open questions mean the defaults. */
export const joinDeps = (terminal: Terminal | null, { steps }: { steps: boolean }): JoinDeps => ({
  exec,
  readResources: createHostReader({ exec, managedNetworks: () => new Set() }),
  answer: (questions) => askAll(terminal, questions),
  confirm: async () => terminal === null || terminal.askBool('Join? (yes/no) [default=yes]: ', true),
  print: (line) => console.log(line),
  // At once and whole, so that whoever watches knows what is under way.
  step: (name) => void (steps && writeSync(2, `step: ${name}\n`)),
  hasSystemd: () => existsSync('/run/systemd/system'),
});

async function askAll(terminal: Terminal | null, questions: readonly Question[]): Promise<MemberConfig> {
  const answers: MemberConfig = [];
  for (const { entity, name, key, description } of questions) {
    const value = terminal === null ? '' : await terminal.askString(`Choose ${description}: `, '', () => null);
    answers.push({ entity, name, key, value });
  }
  return answers;
}
