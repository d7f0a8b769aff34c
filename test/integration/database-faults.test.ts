/**
 * The database away, slow and out of room: every request is answered in time, 503 says when to come again, what was
 * acknowledged is there afterwards, and nothing is there by half. Replicas are in `replication.test.ts`.
 */
import { rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '#selfhost/wait.ts';
import { type Answer, type DatabaseWorld, startDatabaseWorld } from './database-world.ts';

/** Five seconds for a write, three for each of the reads before it, and a busy machine. */
const DEADLINE_MS = 25_000;
const RECOVERY = { timeoutMs: 60_000, everyMs: 100 };

let world: DatabaseWorld;
let names = 0;
const newName = () => `p-${++names}`;
const create = (name: string) =>
  world.ask('POST', '/1.0/profiles', { name, config: { 'user.long': 'x'.repeat(2_000) }, devices: {} });
const look = (name: string) => world.ask('GET', `/1.0/profiles/${name}`);

/** Answered in time, and a refusal says when to come again. */
function expectOrderly({ status, retryAfter, tookMs }: Answer, expected: number[]): void {
  expect([...expected, 503]).toContain(status);
  if (status === 503) expect(Number(retryAfter)).toBeGreaterThan(0);
  expect(tookMs).toBeLessThan(DEADLINE_MS);
}
const untilItWorks = () =>
  waitFor(
    'the control plane to take a write again',
    async () => {
      const answer = await create(newName());
      expectOrderly(answer, [201]);
      return answer.status === 201;
    },
    RECOVERY,
  );

/** A profile and its event are one batch. */
async function expectWhole(acknowledged: readonly string[]): Promise<void> {
  const rows = (await world.query(`select name from profiles where name like 'p-%'`)).map(({ name }) => String(name));
  const told = await world.query(`select json_extract(metadata, '$.source') as source from events
    where json_extract(metadata, '$.action') = 'profile-created'`);
  expect(rows).toEqual(expect.arrayContaining([...acknowledged]));
  expect(told.map(({ source }) => String(source).split('/').at(-1)).sort()).toEqual([...rows].sort());
}

/** Creates profiles side by side until told to stop; resolves to those that were acknowledged. */
function writeOn(lanes: number): { stop(): Promise<string[]> } {
  let going = true;
  const acknowledged: string[] = [];
  const lane = async () => {
    while (going) {
      const name = newName();
      const answer = await create(name);
      expectOrderly(answer, [201]);
      if (answer.status === 201) acknowledged.push(name);
    }
  };
  const all = Promise.all(Array.from({ length: lanes }, lane));
  return {
    stop: async () => {
      going = false;
      await all;
      return acknowledged;
    },
  };
}

describe('the database', () => {
  beforeAll(async () => {
    world = await startDatabaseWorld(null);
  });
  afterAll(() => world.stop());

  it('killed again and again under writes loses none that was acknowledged, and keeps none by half', {
    timeout: 180_000,
  }, async () => {
    const writing = writeOn(4);
    for (let round = 0; round < 3; round++) {
      await untilItWorks();
      process.kill(await world.databasePid(), 'SIGKILL');
    }
    await untilItWorks();
    const acknowledged = await writing.stop();
    expect(acknowledged.length).toBeGreaterThan(0);
    await expectWhole(acknowledged);
    for (const name of acknowledged.slice(-3)) expect(await look(name)).toMatchObject({ status: 200 });
  });

  it('that hangs is answered for with 503, and ended and started again by itself', { timeout: 180_000 }, async () => {
    const name = newName();
    expect((await create(name)).status).toBe(201);
    process.kill(await world.databasePid(), 'SIGSTOP');
    const answers = await Promise.all([look(name), create(newName()), world.ask('GET', '/1.0/instances?recursion=2')]);
    for (const answer of answers) {
      expectOrderly(answer, []);
    }
    await untilItWorks();
    expect(await look(name)).toMatchObject({ status: 200 });
    await expectWhole([name]);
  });

  it('with a second for each query is slow, and nothing else', { timeout: 120_000 }, async () => {
    world.delay(500);
    try {
      const written = [newName(), newName(), newName()];
      for (const answer of await Promise.all(written.map(create))) {
        expect(answer).toMatchObject({ status: 201 });
        expect(answer.tookMs).toBeLessThan(DEADLINE_MS);
      }
      for (const name of written) expect(await look(name)).toMatchObject({ status: 200 });
      await expectWhole(written);
    } finally {
      world.delay(0);
    }
  });

  it('slower than anybody can wait for is away', { timeout: 120_000 }, async () => {
    world.delay(20_000);
    try {
      const answers = await Promise.all([create(newName()), look('default'), world.ask('GET', '/1.0/networks')]);
      for (const answer of answers) {
        expectOrderly(answer, []);
      }
    } finally {
      world.delay(0);
    }
    await untilItWorks();
    await expectWhole([]);
  });
});

describe('a full disk below the database', () => {
  beforeAll(async () => {
    world = await startDatabaseWorld(48 * 1024 * 1024);
  });
  afterAll(() => world.stop());

  it('refuses writes with 503 and goes on with reads; with room again all is as acknowledged', {
    timeout: 180_000,
  }, async () => {
    const before = newName();
    expect((await create(before)).status).toBe(201);
    const ballast = path.join(world.disk, 'ballast');
    await fill(ballast);
    const acknowledged = [before];
    await waitFor(
      'a write to be refused',
      async () => {
        const name = newName();
        const answer = await create(name);
        expectOrderly(answer, [201]);
        if (answer.status === 201) acknowledged.push(name);
        return answer.status === 503;
      },
      RECOVERY,
    );
    expect(await look(before)).toMatchObject({ status: 200 });
    await rm(ballast);
    await untilItWorks();
    await expectWhole(acknowledged);
    for (const name of acknowledged.slice(-3)) expect(await look(name)).toMatchObject({ status: 200 });
  });
});

/** Leaves no block. */
async function fill(file: string): Promise<void> {
  for (let sizeBytes = 0; ; ) {
    const { bavail, bsize } = await statfs(path.dirname(file));
    if (bavail === 0) return;
    sizeBytes += bavail * bsize;
    await writeFile(file, Buffer.alloc(sizeBytes, 1)).catch(() => {});
  }
}
