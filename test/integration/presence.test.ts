/**
 * Presence with a thousand members: real links, made by the agent's own code, into a real control plane. One of them goes
 * through a relay that can fall silent, which is what a half-open connection is to both ends.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient, type InStatement } from '@libsql/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIdentity, publicKeyOf, signPayload } from '#agent/link/identity.ts';
import { createLink, type Link } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import type { HostLoad, HostResources } from '#protocol/inventory.ts';
import { ensureClientCertificate } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { waitFor } from '#selfhost/wait.ts';
import { type Relay, startRelay } from '#test/harness/relay.ts';

const MEMBERS = 1_000;
const VICTIM = 'm0';
/** Connections that are made at the same time, as after a restart with jitter. */
const LANES = 20;

let dir: string;
let plane: ControlPlane;
let client: { certificate: string; key: string };
let relay: Relay;
const links: Link[] = [];

const RESOURCES: HostResources = {
  ...{
    architecture: 'x86_64',
    kernel: 'Linux',
    kernelVersion: '6',
    osName: 'Debian',
    osVersion: '12',
    lxcVersion: '5.0.2',
  },
  ...{ cpuCount: 2, memoryTotalBytes: 2 ** 33, storageDrivers: [], interfaces: [], addresses: [] },
};
const LOAD: HostLoad = { memoryTotalBytes: 2 ** 33, memoryAvailableBytes: 2 ** 32, cpuCount: 2, cpuLoad: 0 };

interface Member {
  server_name: string;
  status: string;
}

async function listMembers(): Promise<Member[]> {
  const { certificate: cert, key } = client;
  const options = {
    host: '127.0.0.1',
    port: plane.endpoints[0]?.port,
    path: '/1.0/cluster/members?recursion=1',
    cert,
    key,
  };
  const text = await new Promise<string>((resolve, reject) => {
    https
      .get({ ...options, rejectUnauthorized: false, agent: false }, (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += String(chunk);
        });
        response.on('end', () => resolve(body));
      })
      .on('error', reject);
  });
  const { metadata } = JSON.parse(text) as { metadata?: Member[] };
  return metadata ?? [];
}

const statusOf = async (name: string) => (await listMembers()).find((member) => member.server_name === name)?.status;

async function insertMembers(members: { name: string; publicKey: string }[]): Promise<void> {
  const { databaseToken: authToken } = await ensureSecrets(path.join(dir, 'data'));
  const database = createClient({ url: `http://127.0.0.1:${plane.databasePort}`, authToken });
  const now = new Date().toISOString();
  const insert = ({ name, publicKey }: { name: string; publicKey: string }): InStatement => ({
    sql: `insert into members (name, public_key, roles, groups, config, architecture, resources, status_changed_at, created_at)
          values (?, ?, '["database"]', '["default"]', '{}', 'x86_64', ?, ?, ?)`,
    args: [name, publicKey, JSON.stringify(RESOURCES), now, now],
  });
  try {
    await database.batch(members.map(insert));
  } finally {
    database.close();
  }
}

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-presence-'));
  client = await ensureClientCertificate({ certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') }, 'me');
  plane = await startControlPlane({
    ...{ dataDir: path.join(dir, 'data'), listen: [{ host: '127.0.0.1', port: 0 }], addresses: ['127.0.0.1:8443'] },
    trust: [{ name: 'me', certificate: client.certificate }],
    log: () => {},
  });
  const port = plane.endpoints[0]?.port ?? 0;
  relay = await startRelay(port);
  const members = Array.from({ length: MEMBERS }, (_, index) => ({ name: `m${index}`, key: createIdentity().key }));
  await insertMembers(members.map(({ name, key }) => ({ name, publicKey: publicKeyOf(key) })));
  const queue = members.map(({ name, key }) =>
    createLink({
      server: [`https://127.0.0.1:${name === VICTIM ? relay.port : port}`],
      fingerprint: plane.fingerprint,
      ...{ member: name, epoch: 1, identity: key, signature: signPayload },
      describeHost: () => Promise.resolve({ resources: RESOURCES, load: LOAD }),
      keepName: () => {},
      log: silentLog,
    }),
  );
  links.push(...queue);
  const connectNext = async () => {
    for (let link = queue.shift(); link !== undefined; link = queue.shift()) {
      const current = link;
      current.start({
        onWelcome: () => current.send({ type: 'inventory', full: true, instances: [] }),
        onFrame: () => {},
        onRemoved: () => {},
      });
      await current.whenUp(60_000);
    }
  };
  await Promise.all(Array.from({ length: LANES }, connectNext));
  await waitFor(
    'all members to be online',
    async () => (await listMembers()).every(({ status }) => status === 'Online'),
    {
      ...{ timeoutMs: 60_000, everyMs: 500 },
    },
  );
}, 180_000);

afterAll(async () => {
  relay?.close();
  await Promise.all(links.map((link) => link.stop()));
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
}, 60_000);

it('finds a half-open link among a thousand as soon as among three, and takes the member back at its first packet', async () => {
  relay.silence(true);
  await waitFor('the member to be offline', async () => (await statusOf(VICTIM)) === 'Offline', {
    ...{ timeoutMs: 30_000, everyMs: 100 },
  });
  const silentMs = performance.now() - relay.lastPassedMs();
  expect(silentMs).toBeGreaterThan(13_000);
  expect(silentMs).toBeLessThan(17_000);
  expect((await listMembers()).filter(({ status }) => status !== 'Online').map((member) => member.server_name)).toEqual(
    [VICTIM],
  );

  relay.silence(false);
  const before = relay.lastPassedMs();
  const firstMs = await waitFor('its first packet', () => relay.lastPassedMs() !== before && relay.lastPassedMs(), {
    ...{ timeoutMs: 30_000, everyMs: 5 },
  });
  await waitFor('the member to be online', async () => (await statusOf(VICTIM)) === 'Online', {
    ...{ timeoutMs: 30_000, everyMs: 50 },
  });
  expect(performance.now() - firstMs).toBeLessThan(3_000);
});
