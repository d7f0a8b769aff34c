/**
 * Slows down guessing of the trust password, of tokens and of signatures. Each failure costs its source a while, and a source
 * that owes too much is refused with 429 until it owes less: some failures at once are forgiven, then few a minute pass, and
 * a flood of them at the same moment closes the door for longer. Counted in libSQL, since every request may meet another
 * isolate; an isolate remembers who has to wait, so that repeating it does not reach the database.
 *
 * An IPv6 source is its /64: whoever has one address has all of those.
 */
import ipaddr from 'ipaddr.js';
import { AppError, tooMany } from '#protocol/errors.ts';
import type { Vars } from '#worker/env.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import { addTrustDebt, findServerConfig } from '#worker/state/config.ts';
import type { Context } from './context.ts';

/** A person mistypes a few times; a program tries thousands. */
const FORGIVEN = 8;
const COST_MS = 7_500;
/** Whatever was tried, an hour later the next attempt is heard. */
const MOST_MS = 3_600_000;
/** Sources that an isolate remembers; the table keeps as many. */
const REMEMBERED = 1_000;

/** What is guessed at: each has a count of its own, so that one does not close the door to another. */
export type Guessed = 'trust' | 'bearer' | 'join' | 'login' | `hook ${string}`;

/** Runs `attempt`; its 403 counts against the address. Throws 429, and does not run it, while there were too many. */
export async function limitAttempts<T>(
  ctx: Context,
  address: string,
  attempt: () => Promise<T>,
  guessed: Guessed = 'trust',
): Promise<T> {
  const key = await keyOf(guessed, address);
  refuseWhileWaiting(ctx, key);
  refuse(ctx, key, await findServerConfig(ctx.db, key));
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof AppError && error.code === 'forbidden') await count(ctx, key);
    throw error;
  }
}

/**
 * Counts a failure of what is checked before it is known whether too many failed: what nobody can guess, so that those who
 * have it never wait for those who do not. Throws 429 when there were too many.
 */
export async function countFailure(ctx: Context, address: string, guessed: Guessed): Promise<void> {
  const key = await keyOf(guessed, address);
  refuseWhileWaiting(ctx, key);
  const owes = await count(ctx, key);
  const owedBefore = Date.parse(owes) - COST_MS;
  // Not the last that is forgiven, the first that is not.
  if (waitUntilMs(owedBefore) > Date.parse(ctx.now())) refuse(ctx, key, owes);
}

/** Runs `attempt`; its 403 counts against the address, and is 429 when there were too many. As `countFailure`. */
export async function countAttempts<T>(
  ctx: Context,
  address: string,
  guessed: Guessed,
  attempt: () => Promise<T>,
): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof AppError && error.code === 'forbidden') await countFailure(ctx, address, guessed);
    throw error;
  }
}

async function count(ctx: Context, key: string): Promise<string> {
  const owes = await addTrustDebt(ctx.db, key, { now: ctx.now(), costMs: COST_MS, mostMs: MOST_MS, rows: REMEMBERED });
  ctx.log.warn('trust.refused', { until: owes });
  return owes;
}

const waitUntilMs = (owesMs: number) => owesMs - (FORGIVEN - 1) * COST_MS;

/** `owes`: the time at which the source owes nothing any more. */
function refuse(ctx: Context, key: string, owes: string | undefined): void {
  if (owes === undefined) return;
  const untilMs = waitUntilMs(Date.parse(owes));
  if (!(untilMs > Date.parse(ctx.now()))) return;
  remember(ctx, key, untilMs);
  refuseWhileWaiting(ctx, key);
}

const waiting = new WeakMap<Vars, Map<string, number>>();

function remember({ vars }: Context, key: string, untilMs: number): void {
  const known = waiting.get(vars) ?? new Map<string, number>();
  if (known.size >= REMEMBERED) known.clear();
  // Of failures at the same moment the last one counts, whichever is told first.
  known.set(key, Math.max(untilMs, known.get(key) ?? 0));
  waiting.set(vars, known);
}

function refuseWhileWaiting(ctx: Context, key: string): void {
  const leftMs = (waiting.get(ctx.vars)?.get(key) ?? 0) - Date.parse(ctx.now());
  if (leftMs > 0) throw tooMany('Too many failed attempts', Math.ceil(leftMs / 1000));
}

/** A hash, so that no address can be chosen to clash with a configuration key. */
const keyOf = async (guessed: Guessed, address: string): Promise<string> =>
  `internal.trust-failures/${await sha256Hex(`${guessed} ${sourceOf(address)}`)}`;

function sourceOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? parsed.toByteArray().slice(0, 8).join('.') : parsed.toString();
}
