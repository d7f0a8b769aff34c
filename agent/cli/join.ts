/** `longshore join`: by token, by trust password, by preseed; without either it goes on with a join that was cut off. */
import { readFileSync } from 'node:fs';
import { defineCommand } from 'citty';
import { badRequest } from '#protocol/errors.ts';
import { confirmServer } from '../init/confirm-server.ts';
import { explainPreseed } from '../init/explain.ts';
import { isAgentWaiting } from '../init/forming-agent.ts';
import { joinFromPreseed } from '../init/join-section.ts';
import { parsePreseed } from '../init/preseed.ts';
import { joinPaths } from '../join/files.ts';
import { joinCluster } from '../join/join.ts';
import { findJoinRecord } from '../join/record.ts';
import type { JoinRight } from '../join/right.ts';
import { openTerminal, type Terminal } from '../prompt/terminal.ts';
import { HOST_ARGS, joinDeps, readMemberFlags, readPlaces } from './host.ts';
import { reporting } from './reporting.ts';

export const join = defineCommand({
  meta: { name: 'join', description: 'Make this host a member of a cluster' },
  args: {
    token: { type: 'positional', description: 'What "lxc cluster add <name>" printed', required: false },
    name: { type: 'string', description: 'Name of this member; must be the one of the token' },
    server: { type: 'string', description: 'Address of the control plane, to join by its trust password' },
    fingerprint: { type: 'string', description: 'Of the control plane’s certificate; asked for when absent' },
    'password-file': { type: 'string', description: 'File with the trust password; asked for when absent' },
    preseed: { type: 'boolean', description: 'Read a preseed with a cluster section from stdin', default: false },
    storage: { type: 'string', description: 'This host’s value of a pool: <pool>:<key>=<value>, may be repeated' },
    network: { type: 'string', description: 'This host’s value of a network: <name>:<key>=<value>, may be repeated' },
    ...HOST_ARGS,
    yes: { type: 'boolean', alias: 'y', description: 'Do not ask', default: false },
  },
  run: ({ args, rawArgs }) =>
    reporting(async () => {
      const here = await readPlaces(args);
      const places = { ...here, agentWaits: await isAgentWaiting(here.settings.socketPaths ?? []) };
      const given = readMemberFlags(rawArgs);
      if (args.preseed) {
        const preseed = parsePreseed(readFileSync(0, 'utf8'));
        for (const line of explainPreseed(preseed, 'join')) console.error(line);
        const wanted = await joinFromPreseed(preseed);
        const memberConfig = [...wanted.memberConfig, ...given];
        await joinCluster(joinDeps(null, args), { ...places, ...wanted, memberConfig });
        return;
      }
      const terminal = args.yes || !process.stdin.isTTY ? null : openTerminal(process.stdin, process.stdout);
      try {
        const right = await chooseRight(terminal, places.configDir, args);
        await joinCluster(joinDeps(terminal, args), { ...places, right, name: args.name, memberConfig: given });
      } finally {
        terminal?.close();
      }
    }),
});

interface Asked {
  token?: string | undefined;
  name?: string | undefined;
  server?: string | undefined;
  fingerprint?: string | undefined;
  'password-file'?: string | undefined;
}

async function chooseRight(terminal: Terminal | null, configDir: string, asked: Asked): Promise<JoinRight> {
  if (asked.token !== undefined) return { kind: 'token', token: asked.token };
  if (asked.server !== undefined) return passwordRight(terminal, { ...asked, server: asked.server });
  const record = findJoinRecord(joinPaths(configDir).record);
  if (record === null) throw badRequest('Missing token: make one with "lxc cluster add <name>" on a member');
  return { kind: 'token', token: Buffer.from(JSON.stringify(record.token)).toString('base64') };
}

async function passwordRight(terminal: Terminal | null, asked: Asked & { server: string }): Promise<JoinRight> {
  if (asked.name === undefined) throw badRequest('Say how this member is to be called: --name');
  const server = await confirmServer(terminal, asked.server, asked.fingerprint ?? null);
  const file = asked['password-file'];
  if (file === undefined && terminal === null) throw badRequest('Give the trust password by --password-file');
  const password =
    file === undefined
      ? ((await terminal?.askPassword('Cluster trust password: ')) ?? '')
      : readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  return { kind: 'password', serverName: asked.name, password, server };
}
