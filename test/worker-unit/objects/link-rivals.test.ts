import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLogger } from '#worker/lib/log.ts';
import { createRivals } from '#worker/objects/link-rivals.ts';
import type { LinkSockets } from '#worker/objects/link-sockets.ts';
import { members, warnings } from '#worker/state/schema.ts';
import { addMember, openTestDb } from '../state/helpers.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

const comerOf = (bootId: string | undefined) => ({ member: 'm1', bootId, place: `place of ${bootId}` });

/** A member whose host is of boot `held`; null: its link is closed. */
async function open(held: string | undefined) {
  const db = await openTestDb();
  await addMember(db, 'm1');
  let seenMs: number | null = Date.now();
  const find = () =>
    seenMs === null
      ? undefined
      : { attachment: { bootId: held, place: `place of ${held}` }, view: { lastSeenMs: seenMs } };
  const sockets = { find } as unknown as LinkSockets;
  const rivals = createRivals({ db, log: createLogger('error', {}, () => {}), sockets });
  return {
    db,
    rivals,
    come: async (bootId: string | undefined, isBarred = false) => await rivals.judge(comerOf(bootId), isBarred),
    heard: () => {
      seenMs = Date.now();
    },
    close: () => {
      seenMs = null;
    },
    pass: (ms: number) => void vi.setSystemTime(Date.now() + ms),
  };
}

it('lets the same boot in again, and agents that name none', async () => {
  const { come } = await open('a');
  expect(await come('a')).toBeNull();
  expect(await come(undefined)).toBeNull();
  const older = await open(undefined);
  expect(await older.come('b')).toBeNull();
});

it('lets another boot in when the member’s host has been silent for 7.5 s, and tells it when to come', async () => {
  const { db, come, pass } = await open('a');
  pass(2_000);
  expect(await come('b')).toMatchObject({ retry: true, retryMs: 5_500 });
  pass(5_500);
  expect(await come('b')).toBeNull();
  expect(await db.select().from(warnings)).toEqual([]);
});

it('lets another boot in at once when the link was closed before it came', async () => {
  const { come, close } = await open('a');
  close();
  expect(await come('b')).toBeNull();
});

it('gives a link that closes while another boot is coming time to return', async () => {
  const { come, close, pass } = await open('a');
  expect(await come('b')).toMatchObject({ retry: true });
  close();
  pass(3_000);
  expect(await come('b')).toMatchObject({ retry: true, retryMs: 4_500 });
  expect(await come('a')).toBeNull();
});

it('keeps the second boot out for good when both have lived for 10 s, and warns of both places', async () => {
  const { db, come, heard, pass } = await open('a');
  for (let at = 0; at < 10_000; at += 5_000) {
    expect(await come('b')).toMatchObject({ retry: true });
    pass(5_000);
    heard();
  }
  expect(await come('b')).toMatchObject({ retry: false });
  expect((await db.select().from(members))[0]?.barredBoots).toEqual(['b']);
  const message = expect.stringMatching(/place of a is the member, the one at place of b is kept out/);
  expect(await db.select().from(warnings)).toMatchObject([{ severity: 'high', location: 'm1', lastMessage: message }]);
});

it('keeps a boot out that was kept out before, also when nobody is the member now', async () => {
  const { db, come, close } = await open('a');
  close();
  expect(await come('b', true)).toMatchObject({ retry: false });
  expect(await db.select().from(warnings)).toHaveLength(1);
});

it('lets in one of two boots that come at the same moment', async () => {
  const { rivals, come, close } = await open('a');
  close();
  const first = comerOf('b');
  expect(await rivals.judge(first, false)).toBeNull();
  expect(await come('c')).toMatchObject({ retry: true });
  rivals.settle(first);
  expect(await come('c')).toBeNull();
});

it('remembers the last sixteen boots that it keeps out', async () => {
  const { db, come, heard, pass } = await open('a');
  for (let boot = 0; boot < 18; boot++) {
    await come(`b${boot}`);
    pass(10_000);
    heard();
    await come(`b${boot}`);
  }
  expect((await db.select().from(members))[0]?.barredBoots).toEqual(Array.from({ length: 16 }, (_, i) => `b${i + 2}`));
});
