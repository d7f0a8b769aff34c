/** Operations as services start, end, await and cancel them. */
import { z } from 'zod';
import { badRequest, failed, unavailable } from '#protocol/errors.ts';
import { type FinalStatus, isFinal, RUNNING, SUCCESS } from '#worker/domain/operation.ts';
import type { ClusterEvent, NewCommand } from '#worker/objects/contract.ts';
import { cancelWaiting, insertCommand, listOperationCommands, toCommand } from '#worker/state/commands.ts';
import { runBatch, type Write } from '#worker/state/db.ts';
import { insertEvents } from '#worker/state/events.ts';
import { mergeFollowups } from '#worker/state/followup.ts';
import { listMembers } from '#worker/state/members.ts';
import {
  type ApiOperation,
  cancelOperations,
  endOperation,
  getOperation,
  insertOperation,
  markCancelling,
  type NewOperation,
  type OperationRow,
  operationEvent,
  operationRow,
  operationToApi,
} from '#worker/state/operations.ts';
import { lifecycle, makeChange, spread } from './changes.ts';
import type { Authorized, Context } from './context.ts';
import { nameVolumeProjects } from './project-volumes.ts';

export type { ApiOperation, NewOperation } from '#worker/state/operations.ts';

/** A wait is cut into such pieces, so that an event lost with a restarted Cluster object costs this much at most. */
const WAIT_SLICE_MS = 5_000;
/** How long a call that LXD answers at once may take on the members. */
const SYNC_WAIT_SECONDS = 60;

export interface Start {
  operation: NewOperation;
  commands: NewCommand[];
  writes?: Write[];
  /** Commands for members that are away: theirs alone, they run when these return. */
  converge?: NewCommand[];
  /** Lifecycle events of the start itself. */
  events?: ClusterEvent[];
}

/** The id of the next operation: the one that was kept for this request, the first time, else a fresh one. */
export const newOperationId = (ctx: Context): string => ctx.takeOperationId?.() ?? ctx.newId();

/**
 * Starts an operation: it, its commands and `writes` in one batch, then members and listeners are told. Without commands the
 * caller ends it with `finishOperation`, except that with `converge` given it is done already: nobody is there to wait for.
 * Throws `conflict` when a row exists already (then nothing was written), `unavailable` without a database.
 */
export async function startOperation(ctx: Authorized, start: Start): Promise<ApiOperation> {
  const { commands, converge, writes = [], events = [] } = start;
  await nameVolumeProjects(ctx, [...commands, ...(converge ?? [])]);
  const now = ctx.now();
  const done = commands.length === 0 && converge !== undefined && start.operation.class === 'task';
  const status = start.operation.status ?? (done ? SUCCESS : RUNNING);
  const row = operationRow({ id: newOperationId(ctx), ...start.operation, status }, now);
  const orders = [
    ...commands.map((command) => ({ command, operationId: row.id })),
    ...(converge ?? []).map((command) => ({ command, operationId: null })),
  ].map(({ command, operationId }) => ({
    member: command.member,
    operationId,
    command: toCommand(ctx.newId(), command),
  }));
  const answers = await runBatch(ctx.db, [
    insertOperation(ctx.db, row),
    ...orders.map((order) => insertCommand(ctx.db, { ...order, now })),
    ...writes,
    ...insertEvents(ctx.db, events),
  ]);
  const deliveries = orders.map(({ member, command, operationId }) => ({
    member,
    orders: [{ ...command, operationId, createdAt: now }],
  }));
  ctx.log.info('operation.started', {
    operationId: row.id,
    operation: row.description,
    commandIds: orders.map(({ command }) => command.id).join(' '),
    members: orders.map(({ member }) => member).join(' '),
  });
  await spread(
    ctx,
    mergeFollowups([{ events: [operationEvent(row), ...withIds(events, answers.slice(-events.length))], deliveries }]),
  );
  return operationToApi(row);
}

/** The events with the places that the batch gave them. */
const withIds = (events: ClusterEvent[], answers: readonly unknown[]): ClusterEvent[] =>
  events.map((event, index) => {
    const id = EventPlace.safeParse(answers[index]).data?.[0].seq;
    return id === undefined ? event : { ...event, id };
  });
const EventPlace = z.tuple([z.object({ seq: z.number() })]);

/** Ends an operation that no command ends. A final status stays; metadata is merged. Answers it as it is now. */
export async function finishOperation(
  ctx: Context,
  id: string,
  end: { status: FinalStatus; metadata?: Record<string, unknown> | null; err?: string },
): Promise<ApiOperation> {
  await spread(ctx, await endOperation(ctx.db, id, { ...end, now: ctx.now() }));
  return operationToApi(await getOperation(ctx.db, id));
}

/** The operation when it is final, or as it is after `timeoutSeconds` (-1: no limit). Throws `not_found`. */
export async function waitOperation(ctx: Context, id: string, timeoutSeconds: number): Promise<ApiOperation> {
  const deadline = timeoutSeconds < 0 ? Number.POSITIVE_INFINITY : Date.now() + timeoutSeconds * 1_000;
  for (;;) {
    const row = await getOperation(ctx.db, id);
    const leftMs = deadline - Date.now();
    if (isFinal(row.status) || leftMs <= 0) return operationToApi(row);
    await ctx.objects.cluster.waitOperation(id, Math.min(WAIT_SLICE_MS, leftMs));
  }
}

/** For calls that LXD answers at once. Throws the operation's own text, `unavailable` when it takes too long. */
export async function waitForCreated(ctx: Context, operationId: string): Promise<void> {
  const operation = await waitOperation(ctx, operationId, SYNC_WAIT_SECONDS);
  if (operation.status_code === SUCCESS) return;
  if (isFinal(operation.status_code)) throw failed(operation.err || 'Operation cancelled');
  throw unavailable(`${operation.description} takes longer than ${SYNC_WAIT_SECONDS} s; see operation ${operationId}`);
}

/**
 * Cancels: a token becomes unusable, commands of absent members end here, connected members are asked to stop and their
 * answers end the operation. Throws LXD's refusals.
 */
export async function cancelOperation(ctx: Authorized, id: string): Promise<void> {
  const operation = await getOperation(ctx.db, id);
  if (isFinal(operation.status)) throw badRequest('Only running operations can be cancelled');
  if (!operation.mayCancel) throw badRequest("This operation can't be cancelled");
  await (operation.class === 'token'
    ? spread(ctx, await cancelOperations(ctx.db, [id], ctx.now()))
    : cancelCommands(ctx, operation));
  const said = lifecycle(ctx, 'operation-cancelled', `/1.0/operations/${id}`, operation.project || null);
  await makeChange(ctx, { writes: [], events: [said] });
}

async function cancelCommands(ctx: Context, { id }: OperationRow): Promise<void> {
  const [orders, members] = await Promise.all([listOperationCommands(ctx.db, id), listMembers(ctx.db)]);
  const waiting = orders.filter((order) => order.status === 'waiting');
  if (waiting.length === 0) return await spread(ctx, await cancelOperations(ctx.db, [id], ctx.now()));
  const isOnline = (name: string) => members.some((member) => member.name === name && member.online);
  await spread(ctx, await markCancelling(ctx.db, id, ctx.now()));
  for (const order of waiting) {
    if (isOnline(order.member)) await ctx.objects.links.cancel(order.member, order.id);
    else await spread(ctx, await cancelWaiting(ctx.db, order.id, ctx.now()));
  }
}
