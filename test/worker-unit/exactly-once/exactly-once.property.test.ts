/**
 * Exactly once, whatever happens: the agent's link, dispatcher and journal and the control plane's Links object, services and
 * database, joined by a wire in memory, and driven through random schedules of what may happen next.
 *
 * `EXACTLY_ONCE_RUNS` is the number of schedules. A failure prints a seed and a path: `EXACTLY_ONCE_SEED` and `EXACTLY_ONCE_PATH` repeat
 * it, and with `EXACTLY_ONCE_SHRINK=1` a shorter schedule is looked for that fails as well, which may take long.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { type Client, createClient } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Env } from '#worker/env.ts';
import * as schema from '#worker/state/schema.ts';
import { addMember } from '../state/helpers.ts';
import { MEMBER, SocketPair, UpgradeResponse } from './control.ts';
import { type Move, World } from './world.ts';

vi.mock('ws', async () => ({ WebSocket: (await import('./wire.ts')).AgentSocket }));
vi.mock('cloudflare:workers', () => ({
  DurableObject: class {
    readonly ctx: unknown;
    readonly env: unknown;
    constructor(ctx: unknown, env: unknown) {
      this.ctx = ctx;
      this.env = env;
    }
  },
}));
vi.mock('#worker/state/db.ts', async (original) => ({
  ...(await original<typeof import('#worker/state/db.ts')>()),
  openDb: (env: Env) => Reflect.get(env, 'TEST_DB'),
}));

const runs = Number(process.env.EXACTLY_ONCE_RUNS ?? 200);
const { EXACTLY_ONCE_SEED: seed, EXACTLY_ONCE_PATH: path, EXACTLY_ONCE_SHRINK: shrink } = process.env;

const pick = fc.nat(1_000);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 60, arbitrary: fc.record({ do: fc.constant('step' as const), pick }) },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant('request' as const),
      kind: fc.constantFrom('create', 'launch', 'launch', 'start', 'stop', 'restart', 'delete', 'delete', 'cancel'),
      pick,
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('repeat' as const), pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('fail' as const), pick, late: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('cut' as const), how: fc.constantFrom('lost', 'late', 'silent') }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('kill' as const), who: fc.constantFrom('agent', 'control') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(300, 4_000, 20_000) }) },
);

const identity = generateKeyPairSync('ed25519');
const realImmediate = setImmediate;
let client: Client;
let signing = 0;

/** Signatures are made elsewhere in the process: one after the other, so that a schedule is the same each time. */
function countSigning(): void {
  let last: Promise<unknown> = Promise.resolve();
  for (const name of ['importKey', 'sign', 'verify', 'digest'] as const) {
    const real: unknown = crypto.subtle[name];
    vi.spyOn(crypto.subtle, name).mockImplementation((...args: unknown[]) => {
      signing += 1;
      const work = last.then(() => (typeof real === 'function' ? Reflect.apply(real, crypto.subtle, args) : undefined));
      const end = () => {
        signing -= 1;
      };
      last = work.then(end, end);
      return work;
    });
  }
}

const turn = () => new Promise<void>((resolve) => realImmediate(resolve));
async function settle(): Promise<void> {
  await turn();
  while (signing > 0) await turn();
}

async function openDatabase(): Promise<Client> {
  const opened = createClient({ url: ':memory:' });
  const migrations = new URL('../../../migrations/', import.meta.url);
  for (const file of (await readdir(migrations)).filter((name) => /^\d+_(?!seed).*\.sql$/.test(name)).sort()) {
    const migration = await readFile(new URL(file, migrations), 'utf8');
    await opened.batch(migration.split('--> statement-breakpoint'), 'write');
  }
  const db = drizzle({ client: opened });
  const publicKey = identity.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  await addMember(db, MEMBER, { publicKey });
  const config = { 'features.profiles': 'true', 'features.images': 'true' };
  await db.insert(schema.projects).values({ name: 'default', config });
  await db.insert(schema.storagePools).values({ name: 'local', driver: 'dir', config: {}, status: 'Created' });
  await db.insert(schema.storagePoolMembers).values({ pool: 'local', member: MEMBER, config: {}, status: 'Created' });
  const devices = { root: { type: 'disk', path: '/', pool: 'local' } };
  await db.insert(schema.profiles).values({ project: 'default', name: 'default', config: {}, devices });
  return opened;
}

const CLEAN = [
  ...['commands', 'operations', 'instances', 'instance_placements', 'events', 'warnings'].map(
    (name) => `delete from ${name}`,
  ),
  "update members set epoch = 0, process_id = '', online = 0, status_reason = '', barred_boots = '[]'",
];

beforeAll(async () => {
  client = await openDatabase();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
  vi.stubGlobal('WebSocketPair', SocketPair);
  vi.stubGlobal('WebSocketRequestResponsePair', class {});
  vi.stubGlobal('WebSocket', { OPEN: 1 });
  vi.stubGlobal('Response', UpgradeResponse);
  // Of what goes wrong here, the verdict alone is of interest.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  countSigning();
});
afterAll(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  client.close();
});

it('every command takes effect at most once, every operation ends, once, and both ends agree', {
  timeout: 600_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 160, size: 'max' }), async (moves) => {
      await client.batch(CLEAN, 'write');
      const world = new World({ client, identity: identity.privateKey, settle });
      try {
        for (const next of moves) await world.play(next);
        await world.heal();
        expect(await world.judge()).toEqual([]);
      } finally {
        world.stop();
        vi.clearAllTimers();
        await settle();
      }
    }),
    {
      numRuns: runs,
      endOnFailure: shrink === undefined,
      ...(seed === undefined ? {} : { seed: Number(seed) }),
      ...(path === undefined ? {} : { path }),
    },
  );
});
