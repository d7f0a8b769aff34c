/**
 * `longshore join`: makes this host a member.
 *
 * Invariants. The server's certificate is the vouched-for one before a secret is sent. Nothing is written before the host was
 * found fit and the person agreed, and a refusal leaves nothing behind. The control plane admits in one batch; every step
 * after that may be repeated, so a join that died anywhere is run again: same key, same token, by `join.json`.
 */
import { existsSync, rmSync } from 'node:fs';
import { AppError, badRequest, failed } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import { type JoinPlan, type JoinToken, joinPayload } from '#protocol/join.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { type AgentConfigInput, DEFAULT_DATA_DIR } from '../config.ts';
import { createIdentity, publicKeyOf, readIdentity, signPayload } from '../link/identity.ts';
import type { Exec } from '../system/exec.ts';
import { AGENT_VERSION } from '../version.ts';
import { findJoinedMember, type JoinPaths, joinPaths, renderConfig, UNIT_PATH, writeWhole } from './files.ts';
import {
  checkExpectedPools,
  checkMemberConfig,
  type MemberConfig,
  mergeMemberConfig,
  openQuestions,
  type Question,
} from './member-config.ts';
import { checkHost, type Preflight } from './preflight.ts';
import { findJoinRecord, removeJoinRecord, writeJoinRecord } from './record.ts';
import { askPlan, postJoin } from './request.ts';
import { describeRight, eachAddress, exchangeRight, type JoinRight } from './right.ts';
import { startService } from './service.ts';

export interface JoinOptions {
  right: JoinRight;
  /** Must be the right's when given. */
  name?: string | undefined;
  configDir: string;
  /** Further keys for the configuration: directories, sockets. */
  settings: Partial<Omit<AgentConfigInput, 'server' | 'fingerprint' | 'member'>>;
  /** This host's own values for pools and networks; what is left open is asked. */
  memberConfig?: MemberConfig;
  /** Pools that the caller takes for the cluster's; another driver, or none of that name, is a reason not to join. */
  expectedPools?: readonly { name: string; driver: string }[];
  /** Only as the first member: a cluster that has some already is not formed but joined. */
  first?: boolean;
  /** How this program is started, for the systemd unit. */
  launcher: string;
  /** False: install and start nothing. */
  service: boolean;
  /** An agent runs here and only waits for the membership. */
  agentWaits?: boolean;
}

export interface JoinDeps {
  exec: Exec;
  readResources(): Promise<HostResources>;
  /** Values for keys that nothing answers yet. */
  answer(questions: readonly Question[]): Promise<MemberConfig>;
  /** Asks a person; resolves to false for "no". */
  confirm(): Promise<boolean>;
  print(line: string): void;
  /** Hears of each step before it is taken. */
  step(name: JoinStep): void;
  /** True where systemd runs. */
  hasSystemd(): boolean;
}

/** In this order. Up to `confirm` nothing is changed; at `admit` the host becomes a member. */
export const JOIN_STEPS = [
  'read-token',
  'ask-plan',
  'ask-answers',
  'check-host',
  'confirm',
  'write-key',
  'write-record',
  'admit',
  'write-config',
  'install-service',
  'finish',
] as const;
export type JoinStep = (typeof JOIN_STEPS)[number];

/** Joins and resolves to the member's name. Throws `AppError` with the reason, and then nothing has changed on the host. */
export async function joinCluster(deps: JoinDeps, options: JoinOptions): Promise<string> {
  const paths = joinPaths(options.configDir);
  deps.step('read-token');
  checkName(options, paths);
  const kept = existsSync(paths.key);
  const identity = kept ? { key: readIdentity(paths.key), pem: null } : createIdentity();
  const { token, plan, begun } = await findPlan(deps, options.right, publicKeyOf(identity.key), paths);
  const ready = await prepare(deps, options, plan, begun);

  deps.step('confirm');
  for (const line of describe(deps, token, paths, options, ready)) deps.print(line);
  if (!plan.joined && !(await deps.confirm())) throw failed('Join cancelled');

  deps.step('write-key');
  if (identity.pem !== null) writeWhole(paths.key, identity.pem, 0o600);
  deps.step('write-record');
  writeJoinRecord(paths.record, { token, memberConfig: ready.memberConfig });
  deps.step('admit');
  try {
    await admit(deps, token, identity.key, ready.memberConfig);
  } catch (error) {
    // The control plane may have taken the key though its answer was lost: a repetition must show the same one.
    if (error instanceof AppError && error.code !== 'unavailable') {
      if (!kept) rmSync(paths.key, { force: true });
      removeJoinRecord(paths.record);
    }
    throw error;
  }
  deps.step('write-config');
  const { addresses: server, fingerprint, server_name: member } = token;
  const config: AgentConfigInput = { server, fingerprint, member, ...options.settings };
  writeWhole(paths.config, renderConfig(config), 0o600);
  deps.print(`This host is now member "${member}".`);
  deps.step('install-service');
  await startService(deps, options, paths);
  deps.step('finish');
  removeJoinRecord(paths.record);
  return member;
}

function checkName(options: JoinOptions, paths: JoinPaths): void {
  const { serverName } = describeRight(options.right);
  if (options.name !== undefined && options.name !== serverName) {
    throw badRequest(`The token is for "${serverName}", not for "${options.name}"`);
  }
  const joined = findJoinedMember(paths.config);
  if (joined !== null && joined !== serverName) {
    throw badRequest(`This host is already member "${joined}" (${paths.config})`);
  }
}

interface Planned {
  token: JoinToken;
  plan: JoinPlan;
  /** What an earlier attempt had settled. */
  begun: MemberConfig;
}

/** An earlier attempt goes on with its own token when that is still good. */
async function findPlan(deps: JoinDeps, right: JoinRight, publicKey: string, paths: JoinPaths): Promise<Planned> {
  const { serverName, server } = describeRight(right);
  const ask = (token: JoinToken) =>
    eachAddress(token, (address, trust) => {
      const { secret, fingerprint } = token;
      return askPlan(address, trust, { serverName, secret, fingerprint, publicKey });
    });
  const record = findJoinRecord(paths.record);
  const sameServer = record?.token.server_name === serverName && record.token.fingerprint === server.fingerprint;
  if (record !== null && sameServer) {
    deps.step('ask-plan');
    const plan = await ask(record.token).catch((error: unknown) => {
      if (error instanceof AppError && (error.code === 'forbidden' || error.code === 'conflict')) return null;
      throw error;
    });
    if (plan !== null) return { token: record.token, plan, begun: record.memberConfig };
  }
  const token = await exchangeRight(right);
  deps.step('ask-plan');
  return { token, plan: await ask(token), begun: [] };
}

async function prepare(deps: JoinDeps, options: JoinOptions, plan: JoinPlan, begun: MemberConfig): Promise<Preflight> {
  const given = mergeMemberConfig(begun, options.memberConfig ?? []);
  // Admitted already: what it gets is decided, and partly there.
  if (plan.joined) return { memberConfig: given, lines: [] };
  if (options.first === true && plan.members > 0) {
    throw badRequest('The control plane has members already: join this host with a token of "lxc cluster add"');
  }
  checkMemberConfig(plan, given);
  checkExpectedPools(plan, options.expectedPools ?? []);
  deps.step('ask-answers');
  const questions = openQuestions(plan, given);
  const answers = questions.length === 0 ? [] : await deps.answer(questions);
  deps.step('check-host');
  const dataDir = options.settings.dataDir ?? DEFAULT_DATA_DIR;
  const resources = await deps.readResources();
  return checkHost({ exec: deps.exec, dataDir, resources }, plan, mergeMemberConfig(given, answers));
}

function describe(
  deps: JoinDeps,
  token: JoinToken,
  paths: JoinPaths,
  options: JoinOptions,
  { lines }: Preflight,
): string[] {
  return [
    `Joining the cluster at ${token.addresses.join(', ')} as "${token.server_name}".`,
    `  Server certificate   ${token.fingerprint}`,
    `  Configuration        ${paths.config}`,
    `  Key                  ${paths.key}${existsSync(paths.key) ? ' (kept)' : ''}`,
    `  Service              ${deps.hasSystemd() && options.service ? UNIT_PATH : 'none, start it yourself'}`,
    ...lines.map((line) => `  ${line}`),
    'Containers, pools and bridges that are on this host stay as they are.',
  ];
}

async function admit(
  deps: JoinDeps,
  token: JoinToken,
  key: ReturnType<typeof readIdentity>,
  memberConfig: MemberConfig,
): Promise<void> {
  const { server_name: serverName, secret, fingerprint } = token;
  const body = {
    serverName,
    secret,
    fingerprint,
    publicKey: publicKeyOf(key),
    signature: signPayload(key, joinPayload({ serverName, secret, fingerprint })),
    version: AGENT_VERSION,
    protocol: PROTOCOL_VERSION,
    resources: await deps.readResources(),
    memberConfig,
  };
  await eachAddress(token, (address, trust) => postJoin(address, trust, body));
}
