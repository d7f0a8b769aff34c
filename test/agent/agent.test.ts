/** A whole agent over fake drivers and a real websocket, against a control plane that the test plays. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Agent, startAgent } from '#agent/agent.ts';
import { parseConfig } from '#agent/config.ts';
import { silentLog } from '#agent/log.ts';
import { ExecError } from '#agent/system/exec.ts';
import { eventually } from '#test/eventually.ts';
import { type FakeControlPlane, type Peer, startControlPlane } from './fakes/control-plane.ts';
import {
  createFakeImages,
  createFakeInstances,
  createFakeNetworks,
  createFakeState,
  createFakeStorage,
  type FakeHostState,
} from './fakes/drivers.ts';
import { createFakeProcess, type FakeProcess } from './fakes/process.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from './fakes/specs.ts';

let directory: string;
let state: FakeHostState;
let plane: FakeControlPlane;
const agents: Agent[] = [];
/** The control plane takes no link. */
let isAway: boolean;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-agent-'));
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(join(directory, 'agent.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
  state = createFakeState();
  isAway = false;
  plane = await startControlPlane((peer) => {
    if (!peer.request.url?.startsWith('/agent/link')) return;
    if (isAway) return peer.socket.terminate();
    peer.send({ type: 'challenge', nonce: 'n'.repeat(32), protocol: 1 });
    peer.socket.once('message', () => peer.send({ type: 'welcome', session: 'the-session', protocol: 1 }));
  });
});
afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.stop()));
  await plane.close();
  state.cleanup();
  rmSync(directory, { recursive: true });
});

async function start(): Promise<Agent> {
  const yaml = `server: ["${plane.address}"]\nmember: host1\ndataDir: ${directory}/data\nrunDir: ${directory}/run\n`;
  const agent = await startAgent(
    {
      log: silentLog,
      keepName: () => {},
      exec: (file) => Promise.reject(new ExecError(file, 127, 'not here')),
      createDrivers: () => ({
        createStorage: (pool) => createFakeStorage(state, pool),
        instances: createFakeInstances(state),
        networks: createFakeNetworks(state),
        images: createFakeImages(state),
      }),
    },
    parseConfig(yaml, join(directory, 'agent.yaml'), {}),
  );
  agents.push(agent);
  return agent;
}

const link = async (): Promise<Peer> => {
  await eventually(() => expect(linkPeer()?.frames.some((frame) => frame.type === 'inventory')).toBe(true));
  const peer = linkPeer();
  if (peer === undefined) throw new Error('no link');
  return peer;
};
const linkPeer = () => plane.peers.filter((peer) => peer.request.url?.startsWith('/agent/link')).at(-1);
const resultOf = (peer: Peer, id: string) =>
  eventually(() => {
    const frame = peer.frames.find((candidate) => candidate.type === 'result' && candidate.id === id);
    if (frame === undefined) throw new Error(`no result of ${id} yet`);
    return frame;
  });

const pool = { type: 'command', id: 'pool', name: 'pool.create', params: { pool: poolSpec() } };
const network = {
  type: 'command',
  id: 'network',
  name: 'network.create',
  params: { network: networkSpec(), preferredIpv4: null, preferredIpv6: null },
};
const create = {
  type: 'command',
  id: 'create',
  name: 'instance.create',
  params: { spec: instanceSpec(), image: imageSource(), pool: poolSpec(), networks: [networkSpec()], start: true },
};

it('launches an instance from commands that come at once, pool first', async () => {
  await start();
  const peer = await link();
  for (const command of [pool, network, create]) peer.send(command);
  const result = await resultOf(peer, 'create');
  expect(result.outcome).toMatchObject({ ok: true, result: { report: { name: 'c1', status: 'Running' } } });
  expect(peer.frames).toContainEqual(
    expect.objectContaining({
      type: 'progress',
      id: 'create',
      metadata: { download_progress: 'rootfs: 50% (2.00MB/s)' },
    }),
  );
});

it('sends a result again after a restart when nobody acknowledged it, and knows its instance', async () => {
  const first = await start();
  const before = await link();
  for (const command of [pool, network, create]) before.send(command);
  await resultOf(before, 'create');
  for (const id of ['pool', 'network']) before.send({ type: 'result-ack', id });
  await first.stop();

  await start();
  await eventually(() => expect(linkPeer()).not.toBe(before));
  const after = await link();
  expect(after.frames.filter((frame) => frame.type === 'result').map((frame) => frame.id)).toContain('create');
  expect(Number(after.frames[0]?.epoch)).toBe(Number(before.frames[0]?.epoch) + 1);
  expect(after.frames.find((frame) => frame.type === 'inventory')).toMatchObject({
    full: true,
    instances: [{ name: 'c1', status: 'Running' }],
  });
  expect(state.starts.get('default/c1')).toBe(1);
});

it('runs a program over a stream of its own, and answers after its last output', async () => {
  let process: FakeProcess | null = null;
  state.process = () => {
    process = createFakeProcess();
    return process;
  };
  await start();
  const peer = await link();
  for (const command of [pool, network, create]) peer.send(command);
  await resultOf(peer, 'create');
  const params = {
    ref: { project: 'default', name: 'c1' },
    streamId: 'stream-1',
    command: ['true'],
    environment: {},
    interactive: false,
    width: 0,
    height: 0,
    user: 0,
    group: 0,
    cwd: '',
    attach: true,
  };
  peer.send({ type: 'command', id: 'exec', name: 'instance.exec', params });
  const stream = await eventually(() => {
    const found = plane.peers.find((candidate) => candidate.request.url === '/agent/stream/stream-1');
    if (found === undefined) throw new Error('no stream yet');
    return found;
  });
  expect(stream.request.headers.authorization).toBe('Bearer the-session');
  expect(process).toBeNull();
  stream.send({ type: 'start' });
  const started = await eventually(() => {
    if (process === null) throw new Error('not started yet');
    return process as FakeProcess;
  });
  started.output('stdout', 'bye');
  started.exit(127);
  const result = await resultOf(peer, 'exec');
  expect(result.outcome).toEqual({ ok: true, result: { exitCode: 127, error: 'Command not found' } });
  expect(stream.frames.filter((frame) => frame.type === 'end')).toHaveLength(2);
  expect(stream.binary.map((message) => message.toString())).toEqual(['\u0001bye']);
});

it('answers queries, with the reason when it cannot', async () => {
  await start();
  const peer = await link();
  peer.send({ type: 'query', id: 'q1', name: 'instance.state', params: { project: 'default', name: 'nope' } });
  peer.send({ type: 'query', id: 'q2', name: 'network.leases', params: { network: 'lxdbr0' } });
  peer.send({ type: 'query', id: 'q3', name: 'network.leases', params: {} });
  await eventually(() => expect(peer.frames.filter((frame) => frame.type === 'answer')).toHaveLength(3));
  const outcomes = Object.fromEntries(peer.frames.map((frame) => [frame.id, frame.outcome]));
  expect(outcomes.q1).toEqual({ ok: false, error: { code: 'not_found', message: 'Instance not found' } });
  expect(outcomes.q2).toEqual({ ok: true, result: { leases: [] } });
  expect(outcomes.q3).toMatchObject({ ok: false, error: { code: 'bad_request' } });
});

it('serves its instances without the control plane, and tells what happened before what is, at the next link', async () => {
  await start();
  const before = await link();
  for (const command of [pool, network, create]) before.send(command);
  await resultOf(before, 'create');
  isAway = true;
  before.socket.terminate();
  const socketPath = join(directory, 'run', 'unix.socket');
  const ask = (method: string, path: string, body = '') =>
    new Promise<{ status: number; operation: string; metadata: unknown }>((resolve, reject) => {
      const outgoing = request({ socketPath, method, path, headers: { 'content-length': body.length } }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode, ...JSON.parse(Buffer.concat(chunks).toString()) }),
        );
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  expect(await ask('GET', '/1.0/instances?recursion=1')).toMatchObject({
    metadata: [{ name: 'c1', status: 'Running' }],
  });
  const { operation } = await ask('PUT', '/1.0/instances/c1/state', '{"action":"stop","force":true}');
  expect(await ask('GET', `${operation}/wait`)).toMatchObject({ metadata: { status: 'Success' } });
  isAway = false;
  await eventually(() => expect(linkPeer()?.frames.some(({ type }) => type === 'inventory')).toBe(true));
  const frames = linkPeer()?.frames.filter(({ type }) => type === 'events' || type === 'inventory') ?? [];
  expect(frames).toMatchObject([
    { type: 'events', events: [{ seq: 1, action: 'instance-stopped', name: 'c1', status: 'Stopped' }] },
    { type: 'inventory', full: true, instances: [{ name: 'c1', status: 'Stopped' }] },
  ]);
  // What began here is answered here.
  expect(await ask('GET', operation)).toMatchObject({ status: 'Success' });
}, 30_000);
