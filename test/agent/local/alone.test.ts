/** A host on its own over fake drivers, asked on a real socket by HTTP and websockets. */
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { createDispatcher, type Dispatcher } from '#agent/dispatcher.ts';
import { type Alone, createAlone } from '#agent/local/alone/index.ts';
import { createPerform } from '#agent/local/alone/perform.ts';
import { type LocalServer, startLocalServer } from '#agent/local/server.ts';
import { silentLog } from '#agent/log.ts';
import { unavailable } from '#protocol/errors.ts';
import { eventually } from '#test/eventually.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { createFakeProcess } from '../fakes/process.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

let directory: string;
let socketPath: string;
let state: FakeHostState;
let host: Host;
let dispatcher: Dispatcher;
let alone: Alone;
let local: LocalServer;
let kept: { action: string; name: string; status: string | null }[];
let touched: string[];
const sockets: WebSocket[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-alone-'));
  socketPath = join(directory, 'unix.socket');
  state = createFakeState();
  host = createFakeHost(state);
  kept = [];
  touched = [];
  dispatcher = createDispatcher({
    journal: host.journal,
    log: silentLog,
    send: () => false,
    slots: 4,
    execute: (command, context) => execute(host, context, command),
  });
  dispatcher.start();
  alone = createAlone({
    host,
    member: 'host1',
    resources: async () => ({
      architecture: 'x86_64',
      kernel: 'Linux',
      kernelVersion: '6',
      osName: 'Debian',
      osVersion: '12',
      lxcVersion: '5.0.2',
      cpuCount: 2,
      memoryTotalBytes: 1,
      storageDrivers: [{ name: 'dir', version: '1' }],
      interfaces: [],
      addresses: [],
    }),
    perform: createPerform({ dispatcher, touch: ({ name }) => void touched.push(name) }),
    keepEvent: (event) => void kept.push(event),
  });
  const reach = { session: () => Promise.reject(unavailable('down')), onAlone: () => () => {} };
  local = await startLocalServer({ log: silentLog, trust: { fingerprint: null }, reach, alone }, [socketPath], 'none');
  await execute(host, fakeContext(), {
    name: 'instance.create',
    params: {
      spec: instanceSpec({ expandedConfig: { 'environment.SITE': 'north', 'user.a': 'b' } }),
      image: imageSource(),
      pool: poolSpec(),
      networks: [networkSpec()],
      start: true,
    },
  });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  dispatcher.stop();
  await local.close();
  state.cleanup();
  rmSync(directory, { recursive: true });
});

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what an envelope holds is what the test is about
  body: any;
}

function call(method: string, path: string, body: unknown = null, headers: Record<string, string> = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const text = body === null ? '' : typeof body === 'string' ? body : JSON.stringify(body);
    const sent = { 'content-length': String(Buffer.byteLength(text)), ...headers };
    const outgoing = request({ socketPath, method, path, headers: sent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const answer = Buffer.concat(chunks).toString();
        const isJson = response.headers['content-type'] === 'application/json';
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: answer,
          body: isJson ? JSON.parse(answer) : null,
        });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(text);
  });
}

function open(path: string): WebSocket {
  const socket = new WebSocket(`ws+unix://${socketPath}:${path}`);
  socket.on('error', () => {});
  sockets.push(socket);
  return socket;
}

const opened = (socket: WebSocket) => new Promise((resolve) => socket.once('open', resolve));

describe('a host on its own', () => {
  it('says so, on every answer and in what it is', async () => {
    const { status, headers, body } = await call('GET', '/1.0');
    expect(status).toBe(200);
    expect(headers.warning).toContain('control plane unreachable');
    expect(body.metadata.environment).toMatchObject({ server_name: 'host1', server_clustered: true, storage: 'dir' });
    expect(body.metadata.config['volatile.control_plane']).toContain('serves its own instances only');
  });

  it.each([
    ['GET', '/1.0/cluster/members'],
    ['POST', '/1.0/instances'],
    ['PUT', '/1.0/instances/c1'],
    ['DELETE', '/1.0/instances/c1'],
    ['GET', '/1.0/operations/b6b5ff3e-0000-4000-8000-000000000000'],
  ])('answers %s %s with 503 and the reason', async (method, path) => {
    const { status, headers, body } = await call(method, path, method === 'GET' ? null : {});
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('3');
    expect(body).toMatchObject({
      type: 'error',
      error_code: 503,
      error: 'control plane unreachable: this host serves its own instances only',
    });
  });

  it.each(['//', '/1.0/instances/%', '/1.0/instances/%E0%A4%A/state'])('refuses %s, which is no path', async (path) => {
    expect(await call('GET', path)).toMatchObject({ status: 400, body: { error_code: 400 } });
  });

  it('lists its instances with their state, those of one project or of all', async () => {
    host.journal.instances.put({
      spec: instanceSpec({ project: 'blue', name: 'c2' }),
      pool: 'local',
      power: 'STOPPED',
    });
    const { body } = await call('GET', '/1.0/instances?recursion=2');
    expect(body.metadata).toMatchObject([
      {
        name: 'c1',
        status: 'Running',
        status_code: 103,
        location: 'host1',
        state: { status: 'Running' },
        snapshots: null,
        expanded_config: { 'user.a': 'b', 'volatile.last_state.power': 'RUNNING' },
      },
    ]);
    expect((await call('GET', '/1.0/instances?filter=status%20eq%20Stopped')).body.metadata).toEqual([]);
    expect((await call('GET', '/1.0/instances?filter=nonsense')).status).toBe(400);
    expect((await call('GET', '/1.0/instances?filter=name%20eq%20c.&recursion=1')).body.metadata).toHaveLength(1);
    expect((await call('GET', '/1.0/instances?all-projects=true')).body.metadata).toEqual([
      '/1.0/instances/c2?project=blue',
      '/1.0/instances/c1',
    ]);
  });

  it('shows one instance, and 404 for one that it does not have', async () => {
    expect((await call('GET', '/1.0/instances/c1')).body.metadata).toMatchObject({ name: 'c1', profiles: ['default'] });
    expect((await call('GET', '/1.0/instances/c1/state')).body.metadata).toMatchObject({ status: 'Running' });
    expect(await call('GET', '/1.0/instances/other')).toMatchObject({
      status: 404,
      body: { error: 'Instance not found' },
    });
  });
});

describe('a state change', () => {
  const put = (action: string, more = {}) => call('PUT', '/1.0/instances/c1/state', { action, timeout: -1, ...more });
  const end = async (path: string) => (await call('GET', `${path}/wait?timeout=10`)).body.metadata;

  it('is an operation that ends, is told on the events socket, and is kept for the control plane', async () => {
    const events: { type: string; metadata: { id?: string; status?: string; action?: string } }[] = [];
    const socket = open('/1.0/events?type=operation,lifecycle');
    socket.on('message', (data) => events.push(JSON.parse(data.toString())));
    await opened(socket);
    const { status, body } = await put('stop', { force: true });
    expect(status).toBe(202);
    expect(body.metadata).toMatchObject({ class: 'task', description: 'Stopping instance', location: 'host1' });
    expect(await end(body.operation)).toMatchObject({ status: 'Success', status_code: 200, err: '' });
    expect(state.statuses.get('default/c1')).toBe('Stopped');
    expect(kept).toMatchObject([{ action: 'instance-stopped', name: 'c1', status: 'Stopped' }]);
    await eventually(() =>
      expect(events.map(({ metadata }) => metadata.action ?? metadata.status)).toEqual([
        'Running',
        'instance-stopped',
        'Success',
      ]),
    );
    await eventually(() => expect(touched).toEqual(['c1']));
    expect(host.journal.instances.find({ project: 'default', name: 'c1' })?.power).toBe('STOPPED');
  });

  it('is refused in LXD’s words when it makes no sense', async () => {
    expect(await put('start')).toMatchObject({ status: 400, body: { error: 'The instance is already running' } });
    expect(await put('dance')).toMatchObject({ status: 400, body: { error: "Unknown action: 'dance'" } });
    expect(await call('PUT', '/1.0/instances/c1/state', '{')).toMatchObject({ status: 400 });
  });

  it('that fails says why in the operation, and is no event', async () => {
    await end((await put('stop', { force: true })).body.operation);
    kept.length = 0;
    state.volumes.delete('c1');
    expect(await end((await put('start')).body.operation)).toMatchObject({
      status: 'Failure',
      err: 'Storage volume not found',
    });
    expect(kept).toEqual([]);
  });

  it('takes its turn with commands', async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const other = { spec: instanceSpec(), action: 'freeze' as const, timeoutSeconds: 0, force: false };
    const held = dispatcher.runLocal({ id: 'held', name: 'instance.state', params: other }, () => gate);
    const { body } = await put('stop', { force: true });
    expect((await call('GET', body.operation)).body.metadata.status).toBe('Running');
    expect(state.statuses.get('default/c1')).toBe('Running');
    release();
    await held;
    expect(await end(body.operation)).toMatchObject({ status: 'Success' });
  });

  it('ends the listeners when the control plane is back, after what runs', async () => {
    const socket = open('/1.0/events');
    await opened(socket);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    alone.leave();
    await closed;
  });
});

describe('exec', () => {
  const start = (more = {}) =>
    call('POST', '/1.0/instances/c1/exec', { command: ['cat'], 'wait-for-websocket': true, ...more });
  const socketOf = async (path: string, secret: string) => {
    const socket = open(`${path}/websocket?secret=${secret}`);
    await opened(socket);
    return socket;
  };

  it('joins a program with its websockets: input, both outputs, signals, exit code', async () => {
    const program = createFakeProcess();
    host.instances.exec = async () => program;
    const { status, body } = await start();
    expect(status).toBe(202);
    const { fds, environment } = body.metadata.metadata;
    expect(environment).toMatchObject({ SITE: 'north', HOME: '/root' });
    const control = await socketOf(body.operation, fds.control);
    const stdin = await socketOf(body.operation, fds['0']);
    stdin.send(Buffer.from('hello'));
    stdin.send('');
    const output: string[] = [];
    for (const fd of ['1', '2']) {
      const socket = await socketOf(body.operation, fds[fd]);
      socket.on('message', (data) => output.push(`${fd}:${data.toString()}`));
    }
    await eventually(() => expect(program.inputEnded).toBe(true));
    expect(Buffer.concat(program.input).toString()).toBe('hello');
    control.send('{"command":"signal","signal":15}');
    await eventually(() => expect(program.signals).toEqual([15]));
    program.output('stdout', 'out');
    program.output('stderr', 'err');
    program.exit(3);
    const ended = await call('GET', `${body.operation}/wait`);
    expect(ended.body.metadata).toMatchObject({ status: 'Success', metadata: { return: 3, command: ['cat'] } });
    await eventually(() => expect(output.toSorted()).toEqual(['1:', '1:out', '2:', '2:err']));
    expect(kept).toMatchObject([{ action: 'instance-exec', context: { command: ['cat'] } }]);
  });

  it('lets each secret in once, and no other', async () => {
    const { body } = await start({ interactive: true });
    const { fds } = body.metadata.metadata;
    await socketOf(body.operation, fds['0']);
    for (const secret of [fds['0'], 'f'.repeat(64), '']) {
      const refused = open(`${body.operation}/websocket?secret=${secret}`);
      const [error] = await new Promise<Error[]>((resolve) => refused.once('error', (...all) => resolve(all)));
      expect(error?.message).toContain('403');
    }
  });

  it('kills the program when the client has gone', async () => {
    const program = createFakeProcess();
    host.instances.exec = async () => program;
    const { body } = await start({ interactive: true });
    const { fds } = body.metadata.metadata;
    await socketOf(body.operation, fds['0']);
    const control = await socketOf(body.operation, fds.control);
    await eventually(async () => expect(dispatcher.isBusy({ project: 'default', name: 'c1' })).toBe(false));
    control.terminate();
    const ended = await call('GET', `${body.operation}/wait`);
    expect(ended.body.metadata.metadata.return).toBe(137);
    expect(program.signals).toEqual([9]);
  });

  it('is refused for an instance that does not run, and without a command', async () => {
    state.statuses.set('default/c1', 'Stopped');
    expect(await start()).toMatchObject({ status: 400, body: { error: 'Instance is not running' } });
    expect(await start({ command: [] })).toMatchObject({ status: 400, body: { error: 'No command provided' } });
  });
});
