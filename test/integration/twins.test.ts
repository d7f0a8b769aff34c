/**
 * Two hosts with one identity, as a cloned disk makes them: links of the agent's own code into a real control plane, with the
 * same key, and an epoch of the second that is the newer one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentity, publicKeyOf, signPayload } from '#agent/link/identity.ts';
import { createLink, type Link } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { waitFor } from '#selfhost/wait.ts';
import { LOAD, RESOURCES } from '#test/harness/host-facts.ts';
import { type Relay, startRelay } from '#test/harness/relay.ts';

let dir: string;
let plane: ControlPlane;
let database: Client;
const relays: Relay[] = [];
const links: Link[] = [];

const startPlane = () =>
  startControlPlane({
    ...{ dataDir: path.join(dir, 'data'), listen: [{ host: '127.0.0.1', port: 0 }], addresses: ['127.0.0.1:8443'] },
    trust: [],
    log: () => {},
  });

interface Host {
  link: Link;
  /** Links that came up. */
  welcomes(): number;
  /** Inventory of the host, as the control plane would take it. */
  report(instances: string[]): void;
}

/** The agent of a host that is `member`. */
function boot(
  member: { name: string; key: ReturnType<typeof createIdentity>['key'] },
  host: { epoch: number; bootId?: string; address: string; port: number },
): Host {
  let welcomes = 0;
  const { epoch, bootId } = host;
  const link = createLink({
    server: [`https://127.0.0.1:${host.port}`],
    fingerprint: plane.fingerprint,
    ...{ member: member.name, epoch, identity: member.key, signature: signPayload },
    ...(bootId === undefined ? {} : { bootId }),
    describeHost: () => Promise.resolve({ resources: { ...RESOURCES, addresses: [host.address] }, load: LOAD }),
    keepName: () => {},
    log: silentLog,
  });
  links.push(link);
  link.start({
    onWelcome: () => {
      welcomes += 1;
    },
    onFrame: () => {},
    onRemoved: () => {},
  });
  const reportOf = (name: string) => ({ project: 'default', name, status: 'Stopped' as const, state: null });
  return {
    link,
    welcomes: () => welcomes,
    report: (names) => void link.send({ type: 'inventory', full: true, instances: names.map(reportOf) }),
  };
}

async function openDatabase(): Promise<Client> {
  const { databaseToken: authToken } = await ensureSecrets(path.join(dir, 'data'));
  return createClient({ url: `http://127.0.0.1:${plane.databasePort}`, authToken });
}

async function newMember(name: string) {
  const { key } = createIdentity();
  const now = new Date().toISOString();
  await database.execute({
    sql: `insert into members (name, public_key, roles, groups, config, architecture, resources, status_changed_at, created_at)
          values (?, ?, '["database"]', '["default"]', '{}', 'x86_64', ?, ?, ?)`,
    args: [name, publicKeyOf(key), JSON.stringify(RESOURCES), now, now],
  });
  return { name, key };
}

const rowOf = async (name: string) => (await database.execute(`select * from members where name = '${name}'`)).rows[0];
const warningsOf = async (name: string) =>
  (await database.execute(`select * from warnings where location = '${name}' and type like '%identity%'`)).rows;
const portOf = () => plane.endpoints[0]?.port ?? 0;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-twins-'));
  plane = await startPlane();
  database = await openDatabase();
}, 60_000);
afterAll(async () => {
  await Promise.all(links.map((link) => link.stop()));
  for (const relay of relays) relay.close();
  database?.close();
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe('a second host with the identity of a member that is there', () => {
  it('never comes in, a warning says where both are, and it stays out when the first is away', async () => {
    const member = await newMember('cloned');
    const first = boot(member, { epoch: 3, bootId: 'boot-1', address: '192.0.2.1', port: portOf() });
    await first.link.whenUp(20_000);
    const second = boot(member, { epoch: 4, bootId: 'boot-2', address: '192.0.2.2', port: portOf() });
    second.report(['made-up']);
    const [warning] = await waitFor(
      'the warning',
      async () => {
        const found = await warningsOf('cloned');
        return found.length > 0 ? found : undefined;
      },
      { timeoutMs: 60_000, everyMs: 200 },
    );
    expect(warning).toMatchObject({
      severity: 'high',
      last_message: expect.stringMatching(/192\.0\.2\.1\b.*192\.0\.2\.2\b/),
    });
    expect([first.welcomes(), second.welcomes()]).toEqual([1, 0]);
    expect(await rowOf('cloned')).toMatchObject({ epoch: 3, online: 1 });

    await first.link.stop();
    await waitFor('the member to be offline', async () => (await rowOf('cloned'))?.online === 0, { timeoutMs: 30_000 });
    const again = boot(member, { epoch: 5, bootId: 'boot-2', address: '192.0.2.2', port: portOf() });
    await waitFor('the second host to be refused', async () => Number((await warningsOf('cloned'))[0]?.count) > 1, {
      timeoutMs: 30_000,
    });
    expect(again.welcomes()).toBe(0);
    const chosen = boot(member, { epoch: 6, bootId: 'boot-3', address: '192.0.2.2', port: portOf() });
    await chosen.link.whenUp(20_000);
  }, 120_000);

  it('is the member once the first has been silent for as long as a rebooted host’s dead link', async () => {
    const member = await newMember('rebooted');
    const relay = await startRelay(portOf());
    relays.push(relay);
    const first = boot(member, { epoch: 3, bootId: 'boot-1', address: '192.0.2.1', port: relay.port });
    await first.link.whenUp(20_000);
    relay.silence(true);
    const rebooted = boot(member, { epoch: 4, bootId: 'boot-2', address: '192.0.2.1', port: portOf() });
    await rebooted.link.whenUp(20_000);
    expect(await rowOf('rebooted')).toMatchObject({ epoch: 4, online: 1 });
    expect(await warningsOf('rebooted')).toEqual([]);
  }, 60_000);

  it('that names no boot is judged by its epoch, as it always was', async () => {
    const member = await newMember('older');
    const first = boot(member, { epoch: 3, address: '192.0.2.1', port: portOf() });
    await first.link.whenUp(20_000);
    const newer = boot(member, { epoch: 4, address: '192.0.2.2', port: portOf() });
    await newer.link.whenUp(20_000);
    await waitFor('the older epoch to be refused', async () => (await warningsOf('older')).length > 0, {
      timeoutMs: 30_000,
    });
    const [warning] = await warningsOf('older');
    expect(warning?.last_message).toMatch(/192\.0\.2\.2.*192\.0\.2\.1/);
  }, 60_000);
});

it('is found out also when both come at the same moment', async () => {
  const member = await newMember('at-once');
  const hosts = ['boot-1', 'boot-2'].map((bootId, index) =>
    boot(member, { epoch: 7, bootId, address: `192.0.2.${index + 1}`, port: portOf() }),
  );
  await waitFor('the warning', async () => (await warningsOf('at-once')).length > 0, { timeoutMs: 60_000 });
  expect(hosts.map((host) => host.welcomes()).sort()).toEqual([0, 1]);
}, 90_000);
