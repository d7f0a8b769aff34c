/** What a member tells of a time without a link, through the real link into the real database, and what listeners hear of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createIdentity, publicKeyOf, signPayload } from '#agent/link/identity.ts';
import { createLink, type Link } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import type { HostEvent } from '#protocol/host-events.ts';
import { ensureClientCertificate } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { waitFor } from '#selfhost/wait.ts';
import { LOAD, RESOURCES } from '#test/harness/host-facts.ts';

let dir: string;
let plane: ControlPlane;
let database: Client;
let client: { certificate: string; key: string };
let identity: ReturnType<typeof createIdentity>['key'];
let link: Link | undefined;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-host-events-'));
  client = await ensureClientCertificate({ certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') }, 'me');
  plane = await startControlPlane({
    ...{ dataDir: path.join(dir, 'data'), listen: [{ host: '127.0.0.1', port: 0 }], addresses: ['127.0.0.1:8443'] },
    trust: [{ name: 'me', certificate: client.certificate }],
    log: () => {},
  });
  const { databaseToken: authToken } = await ensureSecrets(path.join(dir, 'data'));
  database = createClient({ url: `http://127.0.0.1:${plane.databasePort}`, authToken });
  identity = createIdentity().key;
  const now = new Date().toISOString();
  await database.batch([
    {
      sql: `insert into members (name, public_key, roles, groups, config, architecture, resources, status_changed_at, created_at)
            values ('m1', ?, '["database"]', '["default"]', '{}', 'x86_64', ?, ?, ?)`,
      args: [publicKeyOf(identity), JSON.stringify(RESOURCES), now, now],
    },
    {
      sql: `insert into instances (id, project, name, type, member, architecture, profiles, config, devices, pool, status, created_at)
            values ('i1', 'default', 'c1', 'container', 'm1', 'x86_64', '[]', '{}', '{}', 'local', 'Running', ?)`,
      args: [now],
    },
  ]);
}, 60_000);
afterAll(async () => {
  await link?.stop();
  database?.close();
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
}, 30_000);

const acknowledged: number[] = [];

/** One connection that says `frames` after its welcome. */
async function connect(epoch: number, frames: AgentFrame[]): Promise<void> {
  await link?.stop();
  const current = createLink({
    server: [`https://127.0.0.1:${plane.endpoints[0]?.port}`],
    fingerprint: plane.fingerprint,
    ...{ member: 'm1', epoch, identity, signature: signPayload },
    describeHost: () => Promise.resolve({ resources: RESOURCES, load: LOAD }),
    keepName: () => {},
    log: silentLog,
  });
  link = current;
  current.start({
    onWelcome: () => {
      for (const frame of frames) current.send(frame);
    },
    onFrame: (frame) => {
      if (frame.type === 'events-ack') acknowledged.push(frame.seq);
    },
    onRemoved: () => {},
  });
  await current.whenUp(20_000);
}

const event = (seq: number, action: HostEvent['action'], status: HostEvent['status']): HostEvent => ({
  ...{ seq, at: `2026-01-02T03:04:0${seq}.000Z`, action, project: 'default', name: 'c1', status },
});

it('is written once with the times of then, heard by listeners, and no news to the inventory that follows', async () => {
  const heard: { timestamp: string; location: string; metadata: { action: string; source: string } }[] = [];
  const listener = new WebSocket(`wss://127.0.0.1:${plane.endpoints[0]?.port}/1.0/events?type=lifecycle`, {
    ...{ cert: client.certificate, key: client.key, rejectUnauthorized: false },
  });
  listener.on('message', (data) => {
    const message = JSON.parse(data.toString());
    if (String(message.metadata?.action).startsWith('instance-')) heard.push(message);
  });
  await new Promise((resolve) => listener.once('open', resolve));
  const events: HostEvent[] = [
    event(1, 'instance-stopped', 'Stopped'),
    { ...event(2, 'instance-exec', null), context: { command: ['ls'] } },
    event(3, 'instance-started', 'Running'),
    event(4, 'instance-stopped', 'Stopped'),
  ];
  const frames: AgentFrame[] = [
    { type: 'events', events },
    {
      type: 'inventory',
      full: true,
      instances: [{ project: 'default', name: 'c1', status: 'Stopped', state: null }],
    },
  ];
  await connect(1, frames);
  await waitFor('the acknowledgement', () => acknowledged.length === 1, { timeoutMs: 20_000 });
  // As after a link that was lost before the acknowledgement came.
  await connect(2, frames);
  await waitFor('the second acknowledgement', () => acknowledged.length === 2, { timeoutMs: 20_000 });
  expect(acknowledged).toEqual([4, 4]);
  await waitFor('the listener to hear', () => heard.length >= 4, { timeoutMs: 20_000 });
  listener.terminate();
  const told = events.map(({ at, action }) => [at, action]);
  expect(heard.map(({ timestamp, metadata }) => [timestamp, metadata.action])).toEqual(told);
  expect(heard[0]).toMatchObject({ location: 'm1', metadata: { source: '/1.0/instances/c1' } });
  const { rows } = await database.execute(
    `select timestamp, json_extract(metadata, '$.action') as action from events
     where json_extract(metadata, '$.action') like 'instance-%' order by seq`,
  );
  expect(rows.map(({ timestamp, action }) => [timestamp, action])).toEqual(told);
  expect((await database.execute(`select status from instances`)).rows[0]?.status).toBe('Stopped');
}, 60_000);
