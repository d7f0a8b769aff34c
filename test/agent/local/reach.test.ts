import { afterEach, expect, it } from 'vitest';
import { parseServerAddress } from '#agent/link/address.ts';
import type { Session } from '#agent/link/link.ts';
import { createReach, type Reach } from '#agent/local/reach.ts';
import { unavailable } from '#protocol/errors.ts';
import { eventually } from '#test/eventually.ts';

const session: Session = { address: parseServerAddress('http://127.0.0.1:1'), token: 'token' };
let current: Session | null = null;
let waits: number[] = [];
let reach: Reach;
afterEach(() => {
  reach.stop();
  current = null;
  waits = [];
});

/** A link that is waited for in vain. */
const link = {
  session: () => current,
  whenUp: async (ms: number) => {
    waits.push(ms);
    throw unavailable('down');
  },
};

it('waits for a link that has just gone, and only once in a while', async () => {
  reach = createReach(link, 60_000);
  await expect(reach.session()).rejects.toThrow('down');
  expect(waits).toHaveLength(1);
  current = session;
  expect(await reach.session()).toBe(session);
});

it('knows at once that the host is on its own when it has been for long', async () => {
  reach = createReach(link, 0);
  await expect(reach.session()).rejects.toThrow('control plane');
  expect(waits).toEqual([]);
});

it('tells that the host has come to be on its own, unless the link returns in time', async () => {
  reach = createReach(link, 5);
  let told = 0;
  const forget = reach.onAlone(() => {
    told += 1;
  });
  reach.noteDown();
  reach.noteUp();
  reach.noteDown();
  await eventually(() => expect(told).toBe(1));
  forget();
  reach.noteDown();
  reach.onAlone(() => {
    told += 10;
  });
  await eventually(() => expect(told).toBe(11));
});
