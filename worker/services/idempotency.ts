/**
 * `Idempotency-Key`: a creating request that is sent again, because its answer was lost, gets that answer and creates nothing.
 *
 * Invariants: of requests with one key only one runs at a time; the operation that it starts has an id kept with the key, so
 * that after a crash between the operation and its answer the operation is found and not started again; only success is
 * kept, a refusal made nothing and leaves the key free.
 */
import { z } from 'zod';
import { AppError, badRequest, conflict } from '#protocol/errors.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import { claimKey, findKey, type IdempotencyRow, keepAnswer, releaseKey, takeOver } from '#worker/state/idempotency.ts';
import { findOperation, type OperationRow } from '#worker/state/operations.ts';
import type { Authorized } from './context.ts';

/** An answer as it is kept. */
const KeptAnswer = z.object({ status: z.number(), headers: z.record(z.string(), z.string()), body: z.string() });
export type KeptAnswer = z.infer<typeof KeptAnswer>;

export interface OnceRequest {
  key: string;
  /** All that makes it this request: method, path, query and body. */
  fingerprint: string;
  run: (ctx: Authorized) => Promise<KeptAnswer>;
  /** The answer to a request whose operation is there but whose answer was lost; null when it cannot be told from it. */
  recover: (operation: OperationRow) => Promise<KeptAnswer> | null;
}

/** Longer than any creating call may wait for its members. */
const ABANDONED_MS = 90_000;
/** A client that repeats while the first still runs waits this long for its answer. */
const WAIT_MS = 20_000;
const LOOK_MS = 100;
/** In the past of every clock: an attempt that ended without knowing whether something was made. */
const NEVER = '1970-01-01T00:00:00.000Z';

/**
 * Runs the request, or answers as it was answered before. Throws 400 for a key that is none, 422 for a key that came with
 * another request, 409 while the first still runs.
 */
export async function answerOnce(
  ctx: Authorized & { sealer: Sealer },
  request: OnceRequest,
): Promise<{ answer: KeptAnswer; repeated: boolean }> {
  if (!/^[\x21-\x7e]{1,255}$/.test(request.key))
    throw badRequest('An Idempotency-Key has 1 to 255 printable characters without blanks');
  const { protocol, username, member } = ctx.principal;
  const id = await sha256Hex(JSON.stringify([protocol, username, member, request.key]));
  const requestHash = await sha256Hex(request.fingerprint);
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const now = ctx.now();
    const fresh = { id, requestHash, operationId: ctx.newId(), claimedAt: now, createdAt: now };
    const earlier = await findKey(ctx.db, id);
    if (earlier === undefined) {
      if (await claimKey(ctx.db, fresh)) return { answer: await execute(ctx, request, fresh), repeated: false };
      continue;
    }
    if (earlier.requestHash !== requestHash)
      throw new AppError('unprocessable', 'This Idempotency-Key came with another request');
    if (earlier.answer !== null) return { answer: await open(ctx, earlier.answer, id), repeated: true };
    if (earlier.claimedAt < shiftIso(now, -ABANDONED_MS) && (await takeOver(ctx.db, earlier, now)))
      return await resume(ctx, request, { ...earlier, claimedAt: now });
    if (Date.now() > deadline) throw conflict('A request with this Idempotency-Key is still running');
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

type Attempt = Omit<IdempotencyRow, 'answer'>;
type OnceContext = Authorized & { sealer: Sealer };

async function resume(ctx: OnceContext, request: OnceRequest, attempt: Attempt) {
  const operation = await findOperation(ctx.db, attempt.operationId);
  const recovered = operation === undefined ? null : await request.recover(operation);
  if (recovered === null) return { answer: await execute(ctx, request, attempt), repeated: false };
  await keep(ctx, attempt, recovered);
  return { answer: recovered, repeated: true };
}

async function execute(ctx: OnceContext, request: OnceRequest, attempt: Attempt): Promise<KeptAnswer> {
  let kept: string | null = attempt.operationId;
  const takeOperationId = () => {
    const id = kept;
    kept = null;
    return id;
  };
  const { sealer: _, ...plain } = ctx;
  let answer: KeptAnswer;
  try {
    answer = await request.run({ ...plain, takeOperationId });
  } catch (error) {
    await giveUp(ctx, attempt, error instanceof AppError && error.status < 500);
    throw error;
  }
  if (answer.status < 300) await keep(ctx, attempt, answer);
  else await giveUp(ctx, attempt, answer.status < 500);
  return answer;
}

/** The request is answered whatever happens here: at worst a repetition finds the operation. */
async function keep(ctx: OnceContext, attempt: Attempt, answer: KeptAnswer): Promise<void> {
  try {
    await keepAnswer(ctx.db, attempt, await ctx.sealer.seal(JSON.stringify(answer), about(attempt.id)));
  } catch (error) {
    ctx.log.warn('idempotency.keep.failed', {}, error);
  }
}

/** After a refusal nothing was made. After a failure that is not known: the next attempt looks for the operation first. */
async function giveUp(ctx: OnceContext, attempt: Attempt, nothingMade: boolean): Promise<void> {
  try {
    if (nothingMade) await releaseKey(ctx.db, attempt);
    else await takeOver(ctx.db, { ...attempt, answer: null }, NEVER);
  } catch (error) {
    ctx.log.warn('idempotency.release.failed', {}, error);
  }
}

const about = (id: string) => `idempotency ${id}`;

const open = async (ctx: OnceContext, sealed: string, id: string): Promise<KeptAnswer> =>
  KeptAnswer.parse(JSON.parse(await ctx.sealer.open(sealed, about(id))));
