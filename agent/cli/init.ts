/** `longshore init`: `lxd init` for a host that is to be, or is, a member. */
import { existsSync, readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { defineCommand } from 'citty';
import { badRequest } from '#protocol/errors.ts';
import { DEFAULT_DATA_DIR, DEFAULT_RUN_DIR, readConfig } from '../config.ts';
import { type Api, createApi } from '../init/api.ts';
import { applyPreseed } from '../init/apply.ts';
import { automaticPreseed } from '../init/automatic.ts';
import { dumpPreseed } from '../init/dump.ts';
import { explainPreseed } from '../init/explain.ts';
import { readFacts } from '../init/facts.ts';
import { formCluster } from '../init/form.ts';
import { isAgentWaiting, openFormingAgent } from '../init/forming-agent.ts';
import { joinFromPreseed } from '../init/join-section.ts';
import { isJoining, type Preseed, parsePreseed, renderPreseed } from '../init/preseed.ts';
import { dropStaged, mergePreseeds, readStaged } from '../init/staged.ts';
import { runWizard, type Wanted } from '../init/wizard.ts';
import { findJoinedMember, joinPaths } from '../join/files.ts';
import { type JoinDeps, joinCluster } from '../join/join.ts';
import { mergeMemberConfig } from '../join/member-config.ts';
import { parseAnyToken } from '../join/token.ts';
import { openTerminal, type Terminal } from '../prompt/terminal.ts';
import { HOST_ARGS, joinDeps, readMemberFlags, readPlaces } from './host.ts';
import { reporting } from './reporting.ts';

/** Where the systemd unit of a control plane on this machine keeps it. */
const BOOTSTRAP_FILE = '/var/lib/longshore-control/bootstrap.token';

const args = {
  auto: { type: 'boolean', description: 'Automatic (non-interactive) mode', default: false },
  minimal: { type: 'boolean', description: 'Minimal configuration (non-interactive)', default: false },
  preseed: { type: 'boolean', description: 'Pre-seed mode, expects YAML config from stdin', default: false },
  dump: { type: 'boolean', description: 'Dump YAML config to stdout', default: false },
  name: { type: 'string', description: 'Name of this member (default: the host’s)' },
  token: { type: 'string', description: `Of the control plane; default: what ${BOOTSTRAP_FILE} holds` },
  'control-plane': { type: 'string', description: 'Address of the control plane, when not the one of the token' },
  'network-address': { type: 'string', description: 'Accepted; members are not listened on' },
  'network-port': { type: 'string', description: 'Accepted; members are not listened on' },
  'storage-backend': { type: 'string', description: 'Storage backend to use (btrfs, dir or zfs, default: dir)' },
  'storage-create-device': { type: 'string', description: 'Setup device based storage using DEVICE' },
  'storage-create-loop': { type: 'string', description: 'Setup loop based storage with SIZE in GB' },
  'storage-pool': { type: 'string', description: 'Storage pool to use or create' },
  'trust-password': { type: 'string', description: 'Password required to add new clients' },
  storage: { type: 'string', description: 'This host’s value of a pool: <pool>:<key>=<value>, may be repeated' },
  network: { type: 'string', description: 'This host’s value of a network: <name>:<key>=<value>, may be repeated' },
  ...HOST_ARGS,
} as const;

export const init = defineCommand({
  meta: { name: 'init', description: 'Configure this host: form a cluster, join one, or add to the one it is in' },
  args,
  run: ({ args, rawArgs }) =>
    reporting(async () => {
      const modes = [args.auto, args.minimal, args.preseed, args.dump].filter(Boolean).length;
      if (args.dump && modes > 1) throw badRequest("Can't use --dump with other flags");
      if (args.preseed && modes > 1) throw badRequest("Can't use --auto and --preseed together");
      const host = { ...openHost(await readPlaces(args)), steps: args.steps };
      if (args.dump) {
        if (host.api === null) throw badRequest('This host is not a member of a cluster: nothing to dump');
        process.stdout.write(renderPreseed(await dumpPreseed(host.api)));
        return;
      }
      if (args.preseed) {
        const preseed = parsePreseed(readFileSync(0, 'utf8'));
        return carryOut(host, null, fromPreseed(host, preseed, args), readMemberFlags(rawArgs));
      }
      if (args.auto || args.minimal) return carryOut(host, null, await automatic(host, args), []);
      const terminal = openTerminal(process.stdin, process.stdout);
      try {
        const wanted = await runWizard(terminal, await factsOf(host, args));
        await carryOut(host, terminal, wanted, readMemberFlags(rawArgs));
      } finally {
        terminal.close();
      }
    }),
});

interface Flags {
  name?: string | undefined;
  token?: string | undefined;
  'control-plane'?: string | undefined;
}

interface HostHere {
  steps: boolean;
  places: Awaited<ReturnType<typeof readPlaces>>;
  dataDir: string;
  socketPaths: string[];
  /** The cluster's API, when this host is a member. */
  api: Api | null;
}

function openHost(places: Awaited<ReturnType<typeof readPlaces>>): Omit<HostHere, 'steps'> {
  const { config: configPath } = joinPaths(places.configDir);
  if (findJoinedMember(configPath) !== null) {
    const config = readConfig(configPath, process.env);
    const [socketPath] = config.socketPaths;
    if (socketPath === undefined) throw badRequest('The agent of this host serves no local socket');
    return { places, dataDir: config.dataDir, socketPaths: config.socketPaths, api: createApi(socketPath) };
  }
  const socketPaths = places.settings.socketPaths ?? [
    joinPath(places.settings.runDir ?? DEFAULT_RUN_DIR, 'unix.socket'),
  ];
  return { places, dataDir: places.settings.dataDir ?? DEFAULT_DATA_DIR, socketPaths, api: null };
}

/** The token that lets this host be the first member: given, or lying on this machine. */
function findToken(flags: Flags): string | null {
  const text = flags.token ?? (existsSync(BOOTSTRAP_FILE) ? readFileSync(BOOTSTRAP_FILE, 'utf8') : null);
  if (text === null) return null;
  const address = flags['control-plane'];
  if (address === undefined) return text.trim();
  const token = { ...parseAnyToken(text), addresses: [address] };
  return Buffer.from(JSON.stringify(token)).toString('base64');
}

function fromPreseed(host: HostHere, preseed: Preseed, flags: Flags): Wanted | Promise<Wanted> {
  const joining = preseed.cluster !== null && isJoining(preseed.cluster);
  for (const line of explainPreseed(preseed, joining && host.api === null ? 'join' : 'form')) console.error(line);
  if (host.api !== null) return { kind: 'apply', preseed };
  if (joining) return joinFromPreseed(preseed).then((wanted) => ({ kind: 'join', preseed, ...wanted }));
  const serverName = flags.name || preseed.cluster?.server_name || hostName();
  return { kind: 'form', serverName, token: neededToken(flags), preseed };
}

function neededToken(flags: Flags): string {
  const token = findToken(flags);
  if (token === null) {
    throw badRequest(
      `Give the control plane’s token by --token: its file bootstrap.token (${BOOTSTRAP_FILE}) is not here`,
    );
  }
  return token;
}

const hostName = () => readFileSync('/proc/sys/kernel/hostname', 'utf8').trim().split('.')[0] ?? '';

async function namesThere(host: HostHere): Promise<{ pools: string[]; networks: string[] }> {
  const here = host.api === null ? readStaged(host.dataDir) : await dumpPreseed(host.api);
  return { pools: here.storage_pools.map(({ name }) => name), networks: here.networks.map(({ name }) => name) };
}

async function automatic(host: HostHere, flags: Flags & Record<string, unknown>): Promise<Wanted> {
  const text = (name: string) => (typeof flags[name] === 'string' ? flags[name] : undefined);
  const preseed = automaticPreseed(
    {
      storageBackend: text('storage-backend'),
      storagePool: text('storage-pool'),
      storageCreateDevice: text('storage-create-device'),
      storageCreateLoop: text('storage-create-loop'),
      networkAddress: text('network-address'),
      networkPort: text('network-port'),
      trustPassword: text('trust-password'),
    },
    await namesThere(host),
  );
  if (host.api !== null) return { kind: 'apply', preseed };
  return { kind: 'form', serverName: flags.name || hostName(), token: neededToken(flags), preseed };
}

async function factsOf(host: HostHere, flags: Flags) {
  const resources = await joinDeps(null, host).readResources();
  const { pools, networks } = await namesThere(host);
  const token = findToken(flags);
  return readFacts({ dataDir: host.dataDir, resources, pools, networks, joined: host.api !== null, token });
}

async function offerPreseed(terminal: Terminal, preseed: Preseed): Promise<void> {
  const question = 'Would you like a YAML "lxd init" preseed to be printed? (yes/no) [default=no]: ';
  if (await terminal.askBool(question, false)) terminal.print(renderPreseed(preseed));
}

/** A join's questions come from the cluster; the preseed is offered when they are answered, as by LXD. */
const offering = (
  terminal: Terminal,
  deps: Pick<JoinDeps, 'answer'>,
  preseed: Preseed,
): Pick<JoinDeps, 'answer' | 'confirm'> => ({
  answer: async (questions) => {
    const answers = await deps.answer(questions);
    const described = answers.map((entry, index) => ({ ...entry, description: questions[index]?.description ?? '' }));
    if (preseed.cluster !== null) preseed.cluster.member_config = described;
    return answers;
  },
  confirm: async () => {
    await offerPreseed(terminal, preseed);
    return true;
  },
});

async function carryOut(
  host: HostHere,
  terminal: Terminal | null,
  wanting: Wanted | Promise<Wanted>,
  memberConfig: ReturnType<typeof readMemberFlags>,
): Promise<void> {
  const wanted = await wanting;
  const agentWaits = host.api === null && (await isAgentWaiting(host.socketPaths));
  const warn = (line: string) => console.error(line);
  const deps = { ...joinDeps(terminal, host), confirm: async () => true };
  if (wanted.kind === 'apply') {
    if (terminal !== null) await offerPreseed(terminal, wanted.preseed);
    if (host.api !== null) await applyPreseed(host.api, wanted.preseed, warn);
    return;
  }
  if (wanted.kind === 'join') {
    const { preseed, kind: _, ...join } = wanted;
    const values = mergeMemberConfig(join.memberConfig, memberConfig);
    const asking = terminal === null ? deps : { ...deps, ...offering(terminal, deps, preseed) };
    await joinCluster(asking, { ...host.places, ...join, memberConfig: values, agentWaits });
    dropStaged(host.dataDir);
    return;
  }
  if (terminal !== null) await offerPreseed(terminal, wanted.preseed);
  const service = deps.hasSystemd() && host.places.service;
  const { serverName, token } = wanted;
  const preseed = mergePreseeds(readStaged(host.dataDir), wanted.preseed);
  const openAgent = (configDir: string) => openFormingAgent(configDir, { service, waiting: agentWaits });
  await formCluster(
    { ...deps, openAgent, warn },
    { ...host.places, memberConfig, serverName, token, preseed, agentWaits },
  );
  dropStaged(host.dataDir);
}
