/** What somebody can do who has copied one member's key: nothing to any other member, and nothing at all once it is removed. */
import type { KeyObject } from 'node:crypto';
import { eq } from 'drizzle-orm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import * as schema from '#worker/state/schema.ts';
import { eventually } from '../eventually.ts';
import { addCommand, addOperation, report, STATE, specOf } from '../worker-unit/state/helpers.ts';
import { type AgentSocket, connectAgent, giveKey } from './agent.ts';
import { each, faultOf, type Sender } from './client.ts';
import { type Plane, startPlane } from './plane.ts';
import { listRoutes } from './routes.ts';
import { existing } from './world.ts';

let plane: Plane;
let admin: Sender;
let keyOfThief: KeyObject;
let thief: AgentSocket & { session: string };
let victim: AgentSocket & { session: string };

const stateParams = (name: string) => ({
  spec: specOf(name),
  action: 'start' as const,
  timeoutSeconds: 30,
  force: false,
});
const rowOf = async (name: string) =>
  plane.db.select().from(schema.instances).where(eq(schema.instances.name, name)).get();
const commandOf = async (id: string) => plane.db.select().from(schema.commands).where(eq(schema.commands.id, id)).get();
const withSession = () => plane.as({ headers: { authorization: `Bearer ${thief.session}` } });

beforeAll(async () => {
  plane = await startPlane();
  admin = plane.as(plane.admin);
  // The thief has m1's key; `guarded` is there. `other` is on m2.
  keyOfThief = await giveKey(plane, 'm1');
  const keyOfVictim = await giveKey(plane, 'm2');
  for (const [name, member] of [
    ['guarded', 'm1'],
    ['other', 'm2'],
  ] as const) {
    await addOperation(plane.db, `op-${name}`, { location: member });
    const command = { id: `cmd-${name}`, name: 'instance.state' as const, params: stateParams(name) };
    await addCommand(plane.db, command, { member, operationId: `op-${name}` });
  }
  victim = await connectAgent(plane, { member: 'm2', key: keyOfVictim });
  thief = await connectAgent(plane, { member: 'm1', key: keyOfThief });
  await Promise.all([victim, thief].map((socket) => socket.next('command')));
}, 120_000);
afterAll(async () => {
  thief?.close();
  victim?.close();
  await plane?.stop();
});

describe('a stolen agent key', () => {
  it.each([
    ['under the name of another member', { member: 'm2' }],
    ['at the door of another member', { member: 'm1', at: 'm2' }],
    ['as a member that there is not', { member: 'm9' }],
  ])('opens no link %s', async (_, as) => {
    const socket = await connectAgent(plane, { key: keyOfThief, epoch: 99, ...as });
    expect(await socket.next('refused')).toMatchObject({ error: { code: 'forbidden' } });
    expect(socket.session).toBe('');
    expect(victim.closed()).toBeNull();
    socket.close();
  });

  it('is given its own commands only', () => {
    const ids = thief.frames.flatMap((frame) => (frame.type === 'command' ? [frame.id] : []));
    expect(ids).toEqual(['cmd-guarded']);
  });

  it('ends no command of another member', async () => {
    const result = { report: { ...report('other', 'Running') }, volatile: {} };
    for (const outcome of [
      { ok: true, result },
      { ok: false, error: { code: 'failed', message: 'no' } },
      { ok: false, error: { code: 'cancelled', message: 'no' } },
    ]) {
      thief.send({ type: 'result', id: 'cmd-other', name: 'instance.state', outcome });
    }
    await thief.settled();
    await thief.next('result-ack', ({ id }) => id === 'cmd-other');
    expect(await commandOf('cmd-other')).toMatchObject({ status: 'waiting', appliedBy: null });
    expect(await rowOf('other')).toMatchObject({ status: 'Stopped', member: 'm2' });
  });

  it('shows no progress in an operation of another member', async () => {
    const seen: string[] = [];
    const { certificate: cert, key } = plane.admin;
    const listener = new WebSocket(`wss://127.0.0.1:${plane.port}/1.0/events?type=operation&all-projects=true`, {
      ...{ cert, key, rejectUnauthorized: false },
    });
    listener.on('message', (data) => seen.push(String(data)));
    await new Promise((resolve) => listener.once('open', resolve));
    thief.send({ type: 'progress', id: 'cmd-other', metadata: { download_progress: 'forged' } });
    thief.send({ type: 'progress', id: 'cmd-guarded', metadata: { download_progress: 'own' } });
    await eventually(() => expect(seen.join()).toContain('own'));
    expect(seen.join()).not.toContain('forged');
    listener.terminate();
  });

  it('reports nothing of instances of other members, and hides none', async () => {
    const network = { eth0: nicAt('203.0.113.66') };
    const instances = [{ ...report('other', 'Running'), state: { ...STATE, network } }, report('guarded', 'Stopped')];
    thief.send({ type: 'inventory', full: false, instances });
    thief.send({ type: 'inventory', full: true, instances: [report('guarded', 'Stopped')] });
    const at = '2026-11-21T11:00:00.000Z';
    const event = { seq: 1, at, action: 'instance-stopped', project: 'default', name: 'other', status: 'Frozen' };
    thief.send({ type: 'events', events: [event] });
    await thief.next('events-ack');
    expect(await rowOf('other')).toMatchObject({ status: 'Stopped', member: 'm2', state: null });
    const told = await plane.db.select().from(schema.events);
    expect(told.filter(({ metadata }) => metadata.source.includes('/other'))).toEqual([]);
    // What hosts tell their DNS follows the rows.
    await thief.settled();
    expect(JSON.stringify(victim.frames)).not.toContain('203.0.113.66');
  });

  it('answers no question that another member was asked', async () => {
    const asked = admin.send({ method: 'GET', path: '/1.0/instances/other/logs/lxc.log' });
    const { id } = await victim.next('query', ({ name }) => name === 'instance.log');
    thief.send({ type: 'answer', id, outcome: { ok: true, result: { text: 'forged' } } });
    await thief.settled();
    victim.send({ type: 'answer', id, outcome: { ok: true, result: { text: 'true' } } });
    expect(await asked).toMatchObject({ status: 200, text: 'true' });
  });

  it('takes no part in a stream of another member', async () => {
    const asked = admin.send({ method: 'GET', path: '/1.0/instances/other/files?path=/etc/hosts' });
    const query = await victim.next('query', ({ name }) => name === 'file.open');
    const { streamId } = query.params as { streamId: string };
    const sender = withSession();
    const head = { 'x-longshore-file': '{}', 'x-longshore-member': 'm2' };
    for (const [method, end] of [
      ['GET', 'content'],
      ['PUT', 'content'],
      ['POST', 'outcome'],
      ['GET', 'peer'],
      ['GET', ''],
    ] as const) {
      const path = `/agent/stream/${streamId}${end === '' ? '' : `/${end}`}`;
      const body = method === 'GET' ? {} : { body: 'forged' };
      expect(await sender.send({ method, path, headers: head, ...body })).toMatchObject({ status: 403 });
    }
    victim.send({
      type: 'answer',
      id: query.id,
      outcome: { ok: false, error: { code: 'not_found', message: 'gone' } },
    });
    const answer = await asked;
    expect(answer).toMatchObject({ status: 404 });
    expect(answer.text).not.toContain('forged');
  });

  it('lets nobody in, and opens no stream that is not there', async () => {
    const sender = withSession();
    const answers = await Promise.all([
      sender.send({ method: 'POST', path: '/agent/join', body: '{}' }),
      sender.send({ method: 'POST', path: '/agent/join/token', body: '{"serverName":"m3"}' }),
      sender.send({ method: 'GET', path: `/agent/stream/${crypto.randomUUID()}/content` }),
      sender.send({ method: 'GET', path: '/agent/images/%2e%2e/unified' }),
      sender.send({ method: 'GET', path: '/agent/release/..%2f..%2fserver.key' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([400, 403, 404, 404, 404]);
  });

  it('is good for nothing of the API when local access is closed', async () => {
    expect((await admin.send(setLocalAccess('false'))).status).toBe(200);
    const sender = withSession();
    const before = await plane.snapshot();
    const gained: string[] = [];
    await each(listRoutes(), async ({ method, path, id, declaredPublic }) => {
      if (path.startsWith('/agent/') || declaredPublic) return;
      const sent = { method, path: existing(path), ...(method === 'GET' ? {} : { body: '{}' }) };
      const answer = await sender.send(sent);
      const fault = faultOf(path, answer);
      if (answer.status < 400 || fault !== null) gained.push(`${id}: ${fault ?? answer.status}`);
    });
    expect(gained).toEqual([]);
    expect(await plane.snapshot()).toEqual(before);
    expect((await sender.send({ method: 'GET', path: '/1.0' })).text).toContain('"auth":"untrusted"');
    expect((await admin.send(setLocalAccess(''))).status).toBe(200);
    expect((await sender.send({ method: 'GET', path: '/1.0' })).text).toContain('"auth":"trusted"');
  });

  it('is worth nothing once its member is removed', async () => {
    const removed = await admin.send({ method: 'DELETE', path: '/1.0/cluster/members/m1?force=1' });
    expect(removed.status).toBe(200);
    await eventually(() => expect(thief.closed()).not.toBeNull());
    const sender = withSession();
    expect((await sender.send({ method: 'GET', path: '/1.0' })).text).toContain('"auth":"untrusted"');
    const answers = await Promise.all(
      ['/1.0/instances', `/agent/images/${'ab'.repeat(32)}/unified`, `/agent/release/${'ab'.repeat(32)}`].map((path) =>
        sender.send({ method: 'GET', path }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual([403, 401, 401]);
    const again = await connectAgent(plane, { member: 'm1', key: keyOfThief, epoch: 7 });
    expect(await again.next('refused')).toMatchObject({ retry: false });
    expect(victim.closed()).toBeNull();
  });
});

const setLocalAccess = (value: string) => ({
  ...{ method: 'PATCH', path: '/1.0' },
  body: JSON.stringify({ config: { 'core.local_access': value } }),
});

const nicAt = (address: string) => ({
  addresses: [{ family: 'inet' as const, address, netmask: '24', scope: 'global' as const }],
  counters: {
    ...{ bytesReceived: 0, bytesSent: 0, packetsReceived: 0, packetsSent: 0, errorsReceived: 0, errorsSent: 0 },
    ...{ packetsDroppedOutbound: 0, packetsDroppedInbound: 0 },
  },
  ...{ hwaddr: '00:16:3e:00:00:01', hostName: 'veth0', mtu: 1500, state: 'up', type: 'broadcast' },
});
