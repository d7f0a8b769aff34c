/** A cluster on one machine: a control plane and simulated hosts, joined the way real ones are, with the stock client. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { buildLongshore } from '../build.ts';
import type { RunResult } from '../run.ts';
import { waitFor } from '../wait.ts';
import { type Agent, joinHost, startAgent } from './agent.ts';
import { type Client, connectClient, createClient, lxcOk } from './client.ts';
import { type ControlProcess, startControlProcess } from './control.ts';
import { bootHost, crashHost, createHost, describeHost, type Host, pidOf, removeHost } from './host.ts';
import { controlAddressOf, createNet, cutHost, healHost, MAX_HOSTS, type Net } from './network.ts';
import type { Report } from './progress.ts';
import { createRun, type Run, recordNet, removeRun } from './runs.ts';
import { hasKernelZfs, startZfs } from './zfs.ts';

export interface PlaygroundOptions {
  /** Where the control plane serves on loopback. */
  port: number;
  /** The client's configuration folder. */
  conf: (run: Run) => string;
  report: Report;
  logLevel?: string;
  /** Replicas of the database. */
  replicas?: number;
}

/** One host and what runs on it for us. */
interface Slot {
  host: Host;
  agent: Agent | null;
  cut: boolean;
}

export interface HostStatus {
  number: number;
  name: string;
  power: 'on' | 'off';
  cable: 'connected' | 'cut';
  agentPid: number | null;
}

export interface Playground {
  run: Run;
  net: Net;
  client: Client;
  port: number;
  control: ControlProcess;
  /** Starts the control plane again as it was. */
  startControl(): Promise<ControlProcess>;
  /** The agent's program. */
  program: string;
  slots: Map<number, Slot>;
}

/** The port that hosts see; each run has an address of its own for it. */
const CONTROL_PORT = 8443;

/** Control plane and network, no hosts yet. Throws with nothing left behind. */
export async function startPlayground(options: PlaygroundOptions): Promise<Playground> {
  const run = createRun();
  try {
    const conf = options.conf(run);
    const prepare = options.report('Bundles, keys and the network', () =>
      Promise.all([buildLongshore(), createClient(conf), createNet((claimed) => recordNet(run, claimed))]),
    );
    const [program, client, net] = await prepare;
    const loopback = `127.0.0.1:${options.port}`;
    const facing = `${controlAddressOf(net)}:${CONTROL_PORT}`;
    mkdirSync(path.join(run.dir, 'log'), { recursive: true });
    const startControl = () =>
      startControlProcess({
        dataDir: path.join(run.dir, 'control'),
        log: path.join(run.dir, 'log', 'control.log'),
        listen: [loopback, facing],
        addresses: [facing],
        trustFile: client.certificateFile,
        ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
        ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
      });
    const control = await options.report(`Database and control plane on https://${loopback}`, startControl);
    await connectClient(client, loopback, control.certificate);
    return { run, net, client, port: options.port, control, startControl, program, slots: new Map() };
  } catch (error) {
    await removeRun(run);
    throw error;
  }
}

/** SIGKILL for all of the control plane; it stays dead until `bootControl`. */
export async function crashControl(playground: Playground): Promise<void> {
  const { child } = playground.control;
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  child.kill('SIGKILL');
  await gone;
}

export async function bootControl(playground: Playground): Promise<void> {
  playground.control = await playground.startControl();
}

/** Removes everything: nothing of it is worth a clean shutdown. */
export async function stopPlayground(playground: Playground): Promise<void> {
  for (const slot of playground.slots.values()) void slot.agent?.kill();
  playground.control.child.kill('SIGKILL');
  await Promise.all([...playground.slots.values()].map((slot) => removeHost(slot.host)));
  playground.slots.clear();
  await removeRun(playground.run);
}

function getSlot(playground: Playground, number: number): Slot {
  const slot = playground.slots.get(number);
  if (slot === undefined) throw new Error(`There is no host${number}`);
  return slot;
}

export const getHost = (playground: Playground, number: number): Host => getSlot(playground, number).host;

/** A booted host that belongs to no cluster. There already: fine. */
export async function ensureBareHost(playground: Playground, number: number): Promise<Host> {
  if (!Number.isInteger(number) || number < 1 || number > MAX_HOSTS) throw new Error(`No host number: ${number}`);
  const known = playground.slots.get(number);
  if (known !== undefined) return known.host;
  const host = describeHost(playground.net, playground.run.dir, number);
  playground.slots.set(number, { host, agent: null, cut: false });
  await createHost(host);
  await powerOn(host);
  return host;
}

/** With everything that a real host starts by itself, the agent apart. */
async function powerOn(host: Host): Promise<void> {
  await bootHost(host);
  await startZfs(host);
}

/** Joins a bare host by token and starts its agent. Throws the join's own words. */
export async function joinBareHost(playground: Playground, number: number): Promise<void> {
  const { host } = getSlot(playground, number);
  const token = await newToken(playground, host.name);
  const joined: RunResult = await joinHost(host, playground.program, token);
  if (joined.code !== 0) throw new Error(`${host.name} did not join: ${(joined.stderr || joined.stdout).trim()}`);
  startHostAgent(playground, number);
  await waitFor(`${host.name} to be online`, () => isOnline(playground, host.name), { timeoutMs: 30_000, everyMs: 50 });
}

/** The token stands alone on the last line that `lxc cluster add` prints. */
async function newToken(playground: Playground, name: string): Promise<string> {
  const text = await lxcOk(playground.client, ['cluster', 'add', name]);
  return text.trim().split('\n').at(-1) ?? '';
}

async function isOnline(playground: Playground, name: string): Promise<boolean> {
  const members = await lxcOk(playground.client, ['cluster', 'list', '--format', 'csv']);
  return members.split('\n').some((line) => line.startsWith(`${name},`) && line.includes(',ONLINE,'));
}

/** `env` is added to the environment of this agent. */
export function startHostAgent(playground: Playground, number: number, env: Record<string, string> = {}): void {
  const slot = getSlot(playground, number);
  if (slot.agent?.pid() !== undefined) return;
  slot.agent = startAgent(slot.host, playground.program, env);
}

/** Ends the agent, and leaves it so. */
export async function endHostAgent(playground: Playground, number: number, how: 'stop' | 'kill'): Promise<void> {
  await getSlot(playground, number).agent?.[how]();
}

export async function cut(playground: Playground, number: number): Promise<void> {
  await cutHost(playground.net, number);
  getSlot(playground, number).cut = true;
}

export async function heal(playground: Playground, number: number): Promise<void> {
  await healHost(playground.net, number);
  getSlot(playground, number).cut = false;
}

/** Power-off without warning. */
export async function crash(playground: Playground, number: number): Promise<void> {
  const slot = getSlot(playground, number);
  const ended = slot.agent?.kill();
  await crashHost(slot.host);
  await ended;
}

/** Power-on: the host starts what a real one would, its agent among it. */
export async function boot(playground: Playground, number: number): Promise<void> {
  const slot = getSlot(playground, number);
  await powerOn(slot.host);
  if (slot.agent !== null) startHostAgent(playground, number);
}

/** The next free number, joined by a fresh token. */
export async function addHost(playground: Playground): Promise<Host> {
  const number = Math.max(0, ...playground.slots.keys()) + 1;
  const host = await ensureBareHost(playground, number);
  await joinBareHost(playground, number);
  return host;
}

/** Takes the host away; the cluster is not told. */
export async function dropHost(playground: Playground, number: number): Promise<void> {
  const slot = playground.slots.get(number);
  if (slot === undefined) return;
  const ended = slot.agent?.kill();
  await removeHost(slot.host);
  await ended;
  playground.slots.delete(number);
}

export const statusOf = (playground: Playground): HostStatus[] =>
  [...playground.slots.values()].map(({ host, agent, cut }) => ({
    number: host.number,
    name: host.name,
    power: pidOf(host) === null ? 'off' : 'on',
    cable: cut ? 'cut' : 'connected',
    agentPid: agent?.pid() ?? null,
  }));

/** The name a pool has in ZFS: the kernel's ZFS knows one set of names for all hosts of this machine. */
export const zfsPoolName = (playground: Playground, host: Host, pool: string): string =>
  hasKernelZfs() ? `${playground.net.prefix}-${host.name}-${pool}` : pool;
