/**
 * The dialogue of `longshore init`: the questions of `lxd init` in its words, order and defaults. It asks and changes
 * nothing; what it resolves to is a preseed and, for a join, the right to it.
 */
import { failed } from '#protocol/errors.ts';
import { checkMemberName } from '#protocol/names.ts';
import type { JoinRight } from '../join/right.ts';
import { parseAnyToken, parseJoinToken } from '../join/token.ts';
import type { Terminal } from '../prompt/terminal.ts';
import { confirmServer } from './confirm-server.ts';
import type { PreseedJoin } from './join-section.ts';
import { EMPTY_CLUSTER, EMPTY_PRESEED, type Preseed, type PreseedCluster } from './preseed.ts';
import { askNetwork } from './wizard-network.ts';
import { askPool } from './wizard-storage.ts';

/** What the dialogue needs to know of the host and of what is there already. */
export interface WizardFacts {
  hostname: string;
  /** The address that this host is known by; a default only. */
  address: string;
  storageDrivers: readonly string[];
  /** Below the agent's data: `btrfs`, `zfs`, or anything else. */
  backingFileSystem: string;
  /** Of the file system below the agent's data. */
  diskBytes: number;
  dataDir: string;
  pools: ReadonlySet<string>;
  /** Networks that are managed or will be. */
  networks: ReadonlySet<string>;
  findInterface(name: string): 'bridge' | 'other' | null;
  isBlockDevice(path: string): boolean;
  /** The host is a member: the dialogue only adds to the cluster. */
  joined: boolean;
  /** A token that lets this host be the first member, when one was found or given. */
  token: string | null;
}

export type Wanted =
  | { kind: 'form'; serverName: string; token: string; preseed: Preseed }
  | { kind: 'apply'; preseed: Preseed }
  | ({ kind: 'join'; preseed: Preseed } & PreseedJoin);

/** Asks everything. Throws `failed` when the person gives up. */
export async function runWizard(terminal: Terminal, facts: WizardFacts): Promise<Wanted> {
  const preseed = structuredClone(EMPTY_PRESEED);
  preseed.profiles.push({ name: 'default', description: '', config: {}, devices: {} });
  if (facts.joined) {
    await askNode(terminal, facts, preseed, false);
    return { kind: 'apply', preseed };
  }
  const clustering = await terminal.askBool('Would you like to use LXD clustering? (yes/no) [default=no]: ', false);
  if (!clustering) {
    // A host alone is a cluster too: another one may join it later.
    const token = await findToken(terminal, facts);
    await askNode(terminal, facts, preseed, false);
    return { kind: 'form', serverName: facts.hostname, token, preseed };
  }
  const question = `What IP address or DNS name should be used to reach this server? [default=${facts.address}]: `;
  const address = await terminal.askString(question, facts.address, (text) =>
    /^(|\[::\]|0\.0\.0\.0)(:\d+)?$/.test(text) ? 'Invalid IP address or DNS name' : null,
  );
  const serverAddress = /:\d+$/.test(address) ? address : `${address}:8443`;
  const cluster = { ...EMPTY_CLUSTER, enabled: true };
  if (await terminal.askBool('Are you joining an existing cluster? (yes/no) [default=no]: ', false)) {
    const { right, section } = await askJoin(terminal, facts);
    preseed.cluster = { ...cluster, ...section, server_address: serverAddress };
    return { kind: 'join', right, preseed, memberConfig: [], expectedPools: [] };
  }
  const serverName = await askName(terminal, facts);
  const token = await findToken(terminal, facts);
  preseed.config['core.https_address'] = serverAddress;
  preseed.cluster = { ...cluster, server_name: serverName };
  if (await terminal.askBool('Setup password authentication on the cluster? (yes/no) [default=no]: ', false)) {
    const password = await terminal.askNewPassword('Trust password for new clients: ');
    if (password !== '') preseed.config['core.trust_password'] = password;
  }
  await askNode(terminal, facts, preseed, true);
  return { kind: 'form', serverName, token, preseed };
}

const askName = (terminal: Terminal, { hostname }: WizardFacts) =>
  terminal.askString(
    `What member name should be used to identify this server in the cluster? [default=${hostname}]: `,
    hostname,
    checkMemberName,
  );

/** The control plane is there before its first member; its administrator passes on the right to be that one. */
async function findToken(terminal: Terminal, { token }: WizardFacts): Promise<string> {
  if (token !== null) return token;
  return terminal.askString('Token of the control plane (its file bootstrap.token): ', '', (text) =>
    refusalOf(text, parseAnyToken),
  );
}

function refusalOf(text: string, parse: (text: string) => unknown): string | null {
  try {
    parse(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

interface AskedJoin {
  right: JoinRight;
  /** The same for a preseed: edited for the next host, it joins that one. */
  section: Partial<PreseedCluster>;
}

async function askJoin(terminal: Terminal, facts: WizardFacts): Promise<AskedJoin> {
  const answer = await terminal.askString('Do you have a join token? (yes/no/[token]) [default=no]: ', 'no', (text) => {
    if (/^(yes|y|no|n)$/i.test(text)) return null;
    return refusalOf(text, parseJoinToken) === null ? null : 'Not yes/no, or invalid join token';
  });
  if (!/^(no|n)$/i.test(answer)) {
    const token = /^(yes|y)$/i.test(answer)
      ? await terminal.askString('Please provide join token: ', '', (text) => refusalOf(text, parseJoinToken))
      : answer;
    await confirmData(terminal);
    return { right: { kind: 'token', token }, section: { cluster_token: token } };
  }
  const serverName = await askName(terminal, facts);
  for (;;) {
    const address = await terminal.askString('IP address or FQDN of an existing cluster member (may include port): ');
    const server = await confirmServer(terminal, address, null).catch((error: unknown) => {
      if (error instanceof Error && error.message === 'User aborted configuration') throw error;
      terminal.print(`Error connecting to existing cluster member: ${error instanceof Error ? error.message : error}`);
      return null;
    });
    if (server === null) continue;
    const password = await terminal.askPassword('Cluster trust password: ');
    await confirmData(terminal);
    const section = {
      server_name: serverName,
      cluster_address: address,
      cluster_certificate: server.pem,
      cluster_password: password,
    };
    return { right: { kind: 'password', serverName, password, server }, section };
  }
}

/** The question that everybody knows; here the answer costs nothing. */
async function confirmData(terminal: Terminal): Promise<void> {
  terminal.print(
    'What is on this host stays: containers, pools and bridges are kept, and used where the cluster needs them.',
  );
  if (
    !(await terminal.askBool(
      'All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ',
      false,
    ))
  ) {
    throw failed('User aborted configuration');
  }
}

async function askNode(terminal: Terminal, facts: WizardFacts, preseed: Preseed, clustered: boolean): Promise<void> {
  const pool = await askPool(terminal, facts, clustered);
  const [profile] = preseed.profiles;
  if (pool !== null) {
    preseed.storage_pools.push(pool);
    if (profile !== undefined) profile.devices.root = { path: '/', pool: pool.name, type: 'disk' };
  }
  if (await terminal.askBool('Would you like to connect to a MAAS server? (yes/no) [default=no]: ', false)) {
    terminal.print(
      'MAAS is not needed here: the names of instances are resolved by the cluster’s own DNS on every host.',
    );
  }
  const { network, nic } = await askNetwork(terminal, facts, clustered);
  if (network !== null) preseed.networks.push(network);
  if (nic !== null && profile !== undefined) profile.devices.eth0 = nic;
  if (!clustered && !facts.joined) await askListener(terminal, preseed);
  const stale = 'Would you like stale cached images to be updated automatically? (yes/no) [default=yes]: ';
  if (!(await terminal.askBool(stale, true))) preseed.config['images.auto_update_interval'] = '0';
}

/** The API is always on the network, at the control plane; what is left of this question is the password. */
async function askListener(terminal: Terminal, preseed: Preseed): Promise<void> {
  const question = 'Would you like the LXD server to be available over the network? (yes/no) [default=no]: ';
  if (!(await terminal.askBool(question, false))) return;
  const host = await terminal.askString('Address to bind LXD to (not including port) [default=all]: ', 'all');
  const port = await terminal.askString('Port to bind LXD to [default=8443]: ', '8443', (text) =>
    /^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536 ? null : 'Not a port',
  );
  preseed.config['core.https_address'] = `${host === 'all' ? '[::]' : host}:${port}`;
  const password = await terminal.askNewPassword('Trust password for new clients: ');
  if (password === '') terminal.print('No password set, client certificates will have to be manually trusted.');
  else preseed.config['core.trust_password'] = password;
}
