/** `longshore join <token>`. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { confirm, isCancel } from '@clack/prompts';
import { defineCommand } from 'citty';
import { DEFAULT_CONFIG_PATH } from '../config.ts';
import { createHostReader } from '../inventory/host.ts';
import { joinCluster } from '../join/join.ts';
import { exec } from '../system/exec.ts';
import { reporting } from './reporting.ts';

export const join = defineCommand({
  meta: { name: 'join', description: 'Make this host a member of a cluster' },
  args: {
    token: { type: 'positional', description: 'What "lxc cluster add <name>" printed', required: true },
    name: { type: 'string', description: 'Name of this member; must be the one of the token' },
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
    yes: { type: 'boolean', alias: 'y', description: 'Do not ask', default: false },
  },
  run: ({ args }) =>
    reporting(() =>
      joinCluster(
        {
          exec,
          readResources: createHostReader({ exec, managedNetworks: () => new Set() }),
          confirm: () => (args.yes || !process.stdin.isTTY ? Promise.resolve(true) : askToJoin()),
          print: (line) => console.log(line),
          hasSystemd: () => existsSync('/run/systemd/system'),
        },
        {
          token: args.token,
          name: args.name,
          configDir: args['config-dir'],
          settings: {
            ...(args['data-dir'] === undefined ? {} : { dataDir: args['data-dir'] }),
            ...(args['run-dir'] === undefined ? {} : { runDir: args['run-dir'] }),
            ...(args['log-dir'] === undefined ? {} : { logDir: args['log-dir'] }),
            ...(args.socket === undefined ? {} : { socketPaths: args.socket.split(',') }),
          },
          launcher: process.env.LONGSHORE_LAUNCHER ?? '/usr/local/bin/longshore',
          service: args.service,
        },
      ),
    ),
});

async function askToJoin(): Promise<boolean> {
  const answer = await confirm({ message: 'Join?' });
  return !isCancel(answer) && answer;
}
