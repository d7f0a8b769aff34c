/**
 * `longshore join`: makes this host a member.
 *
 * Invariants. The server's certificate is the token's before the secret is sent. Nothing but the key pair is written before
 * the control plane has said yes, so a refusal changes nothing. A join that died may run again: same token, same key.
 */
import { existsSync, rmSync } from 'node:fs';
import { AppError, badRequest, failed } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import { type JoinToken, joinPayload } from '#protocol/join.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import type { AgentConfigInput } from '../config.ts';
import { parseServerAddress } from '../link/address.ts';
import { createIdentity, publicKeyOf, readIdentity, signPayload } from '../link/identity.ts';
import type { Exec } from '../system/exec.ts';
import { AGENT_VERSION } from '../version.ts';
import {
  findJoinedMember,
  type JoinPaths,
  joinPaths,
  renderConfig,
  renderUnit,
  UNIT_PATH,
  writeWhole,
} from './files.ts';
import { postJoin } from './request.ts';
import { parseJoinToken } from './token.ts';

export interface JoinOptions {
  token: string;
  /** Must be the token's when given. */
  name?: string | undefined;
  configDir: string;
  /** Further keys for the configuration: directories, sockets. */
  settings: Partial<Omit<AgentConfigInput, 'server' | 'fingerprint' | 'member'>>;
  /** How this program is started, for the systemd unit. */
  launcher: string;
  /** False: install and start nothing. */
  service: boolean;
}

export interface JoinDeps {
  exec: Exec;
  readResources(): Promise<HostResources>;
  /** Asks a person; resolves to false for "no". */
  confirm(): Promise<boolean>;
  print(line: string): void;
  /** True where systemd runs. */
  hasSystemd(): boolean;
}

/** Joins; throws `AppError` with the reason, and then nothing has changed on the host. */
export async function joinCluster(deps: JoinDeps, options: JoinOptions): Promise<void> {
  const token = parseJoinToken(options.token);
  const paths = joinPaths(options.configDir);
  checkName(token, options.name, paths);
  for (const line of describe(token, paths, options, deps.hasSystemd())) deps.print(line);
  if (!(await deps.confirm())) throw failed('Join cancelled');

  const member = await becomeMember(deps, token, paths);
  const config: AgentConfigInput = {
    server: token.addresses,
    fingerprint: token.fingerprint,
    member,
    ...options.settings,
  };
  writeWhole(paths.config, renderConfig(config), 0o600);
  deps.print(`This host is now member "${member}".`);
  await startService(deps, options, paths);
}

function checkName(token: JoinToken, name: string | undefined, paths: JoinPaths): void {
  if (name !== undefined && name !== token.server_name) {
    throw badRequest(`The token is for "${token.server_name}", not for "${name}"`);
  }
  const joined = findJoinedMember(paths.config);
  if (joined !== null && joined !== token.server_name) {
    throw badRequest(`This host is already member "${joined}" (${paths.config})`);
  }
}

function describe(token: JoinToken, paths: JoinPaths, options: JoinOptions, systemd: boolean): string[] {
  return [
    `Joining the cluster at ${token.addresses.join(', ')} as "${token.server_name}".`,
    `  Server certificate   ${token.fingerprint}`,
    `  Configuration        ${paths.config}`,
    `  Key                  ${paths.key}${existsSync(paths.key) ? ' (kept)' : ''}`,
    `  Service              ${systemd && options.service ? UNIT_PATH : 'none, start it yourself'}`,
    'Containers, pools and bridges that are on this host stay as they are.',
  ];
}

/** Tries the addresses in turn; only silence moves on to the next one, a refusal is final. */
async function becomeMember(deps: JoinDeps, token: JoinToken, paths: JoinPaths): Promise<string> {
  const kept = existsSync(paths.key);
  if (!kept) writeWhole(paths.key, createIdentity().pem, 0o600);
  try {
    const identity = readIdentity(paths.key);
    const { server_name: serverName, secret, fingerprint } = token;
    const body = {
      serverName,
      secret,
      fingerprint,
      publicKey: publicKeyOf(identity),
      signature: signPayload(identity, joinPayload({ serverName, secret, fingerprint })),
      version: AGENT_VERSION,
      protocol: PROTOCOL_VERSION,
      resources: await deps.readResources(),
    };
    let silence: unknown = badRequest('The token names no address');
    for (const text of token.addresses) {
      const address = parseServerAddress(text);
      try {
        return (await postJoin(address, { fingerprint, pinnedOnly: true }, body)).member;
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
        silence = error;
      }
    }
    throw silence;
  } catch (error) {
    // The control plane may have taken the key though its answer was lost: a repetition must show the same one.
    const refused = error instanceof AppError && error.code !== 'unavailable';
    if (!kept && refused) rmSync(paths.key, { force: true });
    throw error;
  }
}

async function startService(deps: JoinDeps, options: JoinOptions, paths: JoinPaths): Promise<void> {
  const command = `${options.launcher} agent --config ${paths.config}`;
  if (!options.service || !deps.hasSystemd()) {
    deps.print(`Start the agent with: ${command}`);
    return;
  }
  writeWhole(UNIT_PATH, renderUnit(options.launcher, paths.config), 0o644);
  await deps.exec('systemctl', ['daemon-reload']);
  await deps.exec('systemctl', ['enable', 'longshore-agent.service']);
  // Also right when it runs already, with an older configuration.
  await deps.exec('systemctl', ['restart', 'longshore-agent.service']);
  deps.print('The agent runs as longshore-agent.service.');
}
