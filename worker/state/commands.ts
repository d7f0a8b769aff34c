/**
 * Commands: what waits for a member, and how a result is applied exactly once.
 *
 * The first statement of the applying batch claims the command (`waiting` → final, with a token of this attempt); all others
 * hold only while the token is there. A result that comes twice, late, or for a command that was cancelled claims nothing.
 */
import { and, asc, eq, getTableColumns, sql } from 'drizzle-orm';
import type { z } from 'zod';
import {
  COMMANDS,
  type Command,
  type CommandName,
  type CommandParams,
  type CommandResult,
  parseCommand,
} from '#protocol/commands.ts';
import type { WireError } from '#protocol/errors.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import { newId } from '#worker/lib/id.ts';
import type { NewCommand, Order } from '#worker/objects/contract.ts';
import { type Db, guardDb, isUniqueViolation, type Write } from './db.ts';
import type { Effect, EffectContext, Facts } from './effect.ts';
import { EFFECTS } from './effects.ts';
import { type Followup, NOTHING } from './followup.ts';
import { settleOperation } from './operation-status.ts';
import { type Plan, runPlan } from './plan.ts';
import { toPoolSpec } from './pools.ts';
import { commands, images, instances, operations, storagePoolMembers, storagePools } from './schema.ts';

export type CommandRow = typeof commands.$inferSelect;
type Outcome = Extract<AgentFrame, { type: 'result' }>['outcome'];

/** The member's commands that have no result yet, oldest first: what a hello is answered with. */
export async function listWaitingCommands(db: Db, member: string): Promise<Order[]> {
  const rows = await guardDb(() =>
    db
      .select()
      .from(commands)
      .where(and(eq(commands.member, member), eq(commands.status, 'waiting')))
      .orderBy(asc(commands.createdAt), asc(sql`commands.rowid`)),
  );
  return rows.map((row) => ({ ...parseCommand(row), operationId: row.operationId, createdAt: row.createdAt }));
}

/** Which commands of these members have had no result since `before`. */
export async function listOverdue(
  db: Db,
  { members, before }: { members: readonly string[]; before: string },
): Promise<{ id: string; member: string }[]> {
  const isTheirs = sql`${commands.member} in (select value from json_each(${JSON.stringify(members)}))`;
  const isOverdue = sql`${commands.status} = 'waiting' and ${commands.createdAt} <= ${before}`;
  return await guardDb(() =>
    db.select({ id: commands.id, member: commands.member }).from(commands).where(and(isTheirs, isOverdue)),
  );
}

/** A command with its id, typed by its name. */
export function toCommand(id: string, { name, params }: NewCommand): Command {
  return parseCommand({ id, name, params });
}

/** A write for a batch: the command, waiting. `operationId` null: it only converges the member. */
export const insertCommand = (
  db: Db,
  { member, command, operationId, now }: { member: string; command: Command; operationId: string | null; now: string },
) =>
  db.insert(commands).values({
    id: command.id,
    operationId,
    member,
    name: command.name,
    params: command.params,
    status: 'waiting',
    createdAt: now,
  }) satisfies Write;

/** The commands of one operation, oldest first. */
export async function listOperationCommands(db: Db, operationId: string): Promise<CommandRow[]> {
  const ofOperation = eq(commands.operationId, operationId);
  return await guardDb(() =>
    db.select().from(commands).where(ofOperation).orderBy(asc(commands.createdAt), asc(sql`commands.rowid`)),
  );
}

/**
 * Applies a member's result: command, its effect and its operation move in one batch. `known` is false for an id that this
 * member was never given. Repeating it answers nothing. Throws when the database does not answer: then nothing happened.
 * With `order`, as it was delivered to this member, nothing is read first; `isEnough` says for which.
 */
export async function applyResult(
  db: Db,
  { member, id, outcome, now, order }: { member: string; id: string; outcome: Outcome; now: string; order?: Order },
): Promise<Followup & { known: boolean }> {
  const read = order === undefined ? await readCommand(db, id) : readOrder(member, order);
  if (read === null || read.row.member !== member) return { ...NOTHING, known: false };
  if (read.row.status !== 'waiting') return { ...NOTHING, known: true };
  return { ...(await apply(db, read, outcome, { now, abandoned: false })), known: true };
}

/** Ends a command that the member has not answered, as if it had answered `cancelled`. A later result is ignored. */
export async function cancelWaiting(db: Db, commandId: string, now: string): Promise<Followup> {
  const read = await readCommand(db, commandId);
  if (read === null || read.row.status !== 'waiting') return NOTHING;
  const error: WireError = { code: 'cancelled', message: 'Operation cancelled' };
  return await apply(db, read, { ok: false, error }, { now, abandoned: true });
}

/** True when the order alone tells all that the effect of its result needs. */
export function isEnough({ name, params }: Order): boolean {
  if (name === 'instance.state') return params.action !== 'stop';
  return name === 'instance.create' || name === 'instance.exec';
}

interface Read {
  row: Pick<CommandRow, 'id' | 'member' | 'status' | 'createdAt' | 'operationId'>;
  command: Command;
  project: string;
  facts: Facts;
  /** Blobs that no other image would refer to when the pending ones go. */
  orphans: string[];
}

/** As if it had been read: whether it waits still is decided where it is claimed. */
const readOrder = (member: string, { operationId, createdAt, ...command }: Order): Read => ({
  row: { id: command.id, member, status: 'waiting', operationId, createdAt },
  command,
  project: 'default',
  facts: { pool: null, pendingImages: [] },
  orphans: [],
});

/** The command with all that its effect may need, in one round trip. */
async function readCommand(db: Db, id: string): Promise<Read | null> {
  const [rows, pools, imageRows] = await guardDb(() =>
    db.batch([
      db
        .select({ row: getTableColumns(commands), project: operations.project })
        .from(commands)
        .leftJoin(operations, eq(operations.id, commands.operationId))
        .where(eq(commands.id, id)),
      db
        .select({ pool: getTableColumns(storagePools), own: storagePoolMembers.config })
        .from(commands)
        .innerJoin(instances, sql`${instances.id} = json_extract(${commands.params}, '$.spec.id')`)
        .innerJoin(storagePools, eq(storagePools.name, instances.pool))
        .leftJoin(
          storagePoolMembers,
          and(eq(storagePoolMembers.pool, storagePools.name), eq(storagePoolMembers.member, commands.member)),
        )
        .where(eq(commands.id, id)),
      db
        .select(getTableColumns(images))
        .from(commands)
        .innerJoin(images, sql`${images.fingerprint} = json_extract(${commands.params}, '$.image.fingerprint')`)
        .where(and(eq(commands.id, id), eq(commands.name, 'image.inspect'))),
    ]),
  );
  const [found] = rows;
  if (found === undefined) return null;
  const project = found.project ?? 'default';
  const pending = imageRows.filter((image) => image.status === 'pending');
  // The uploader's own row; with images shared from the default project, that one.
  const own = pending.filter((image) => image.project === project);
  const pendingImages = own.length > 0 ? own : pending;
  const kept = imageRows.filter((image) => !pendingImages.includes(image)).flatMap((image) => image.parts);
  const keys = pendingImages.flatMap((image) => image.parts).map((part) => part.key);
  return {
    row: found.row,
    command: parseCommand(found.row),
    project,
    facts: { pool: pools[0] ? toPoolSpec(pools[0].pool, pools[0].own ?? {}) : null, pendingImages },
    orphans: keys.filter((key) => !kept.some((part) => part.key === key)),
  };
}

async function apply(
  db: Db,
  read: Read,
  outcome: Outcome,
  options: { now: string; abandoned: boolean },
): Promise<Followup> {
  try {
    return await applyOnce(db, read, outcome, options);
  } catch (error) {
    if (!isUniqueViolation(error) || !outcome.ok) throw error;
    // The host did it but the name is taken here (a rename that lost a race): it fails, and the host is told to undo it.
    const { command } = read;
    const message = 'This "instances" entry already exists';
    return await applyOnce(db, read, { ok: false, error: { code: 'conflict', message } }, options, (plan) => {
      if (command.name !== 'instance.rename') return;
      const { spec, newName } = command.params;
      const params = { spec: { ...spec, name: newName }, newName: spec.name };
      plan.command({ member: read.row.member, name: 'instance.rename', params }, null);
    });
  }
}

async function applyOnce(
  db: Db,
  read: Read,
  outcome: Outcome,
  { now, abandoned }: { now: string; abandoned: boolean },
  extra?: (plan: Plan) => void,
): Promise<Followup> {
  const { row, command, project, facts } = read;
  const { member, createdAt, operationId } = row;
  const token = newId();
  const guard = sql`exists (select 1 from commands where id = ${row.id} and applied_by = ${token})`;
  let dropped: string[] = [];
  const followup = await runPlan(db, { now, guard }, (plan) => {
    const effect = prepare(command, { member, createdAt, operationId, project, facts, abandoned }, outcome);
    plan.write(sql`update commands set status = ${effect.status}, applied_by = ${token}, error = ${effect.error},
      finished_at = ${now} where id = ${row.id} and member = ${member} and status = 'waiting'`);
    effect.run(plan);
    extra?.(plan);
    if (operationId !== null) settleOperation(plan, operationId);
    if (command.name === 'image.inspect' && effect.status !== 'done') dropped = read.orphans;
  });
  // Nothing to tell of an operation that exists: another attempt has claimed the command, and drops the blobs.
  return dropped.length === 0 || followup.events.length === 0 ? followup : { ...followup, blobs: dropped };
}

interface Prepared {
  status: 'done' | 'failed' | 'cancelled';
  error: string;
  run(plan: Plan): void;
}

type Rest = Omit<EffectContext<CommandName>, 'id' | 'params'>;

/** The same table with its types tied to the names. */
const RESULTS: { readonly [N in CommandName]: { readonly result: z.ZodType<CommandResult<N>> } } = COMMANDS;

/** Pairs the outcome with its effect; a result that cannot be read is a failure of the member. */
function prepare<N extends CommandName>(
  { id, name, params }: { id: string; name: N; params: CommandParams<N> },
  rest: Rest,
  outcome: Outcome,
): Prepared {
  const effect: Effect<N> = EFFECTS[name];
  const context: EffectContext<N> = { id, params, ...rest };
  const fail = (error: WireError): Prepared => ({
    status: error.code === 'cancelled' ? 'cancelled' : 'failed',
    error: error.message,
    run: (plan) => effect.failed(plan, context, error),
  });
  if (!outcome.ok) return fail(outcome.error);
  const parsed = RESULTS[name].result.safeParse(outcome.result);
  if (!parsed.success) return fail({ code: 'internal', message: `Unreadable result of ${name}` });
  const refusal = effect.refusal?.(parsed.data) ?? null;
  return {
    status: refusal === null ? 'done' : 'failed',
    error: refusal ?? '',
    run: (plan) => effect.ok(plan, context, parsed.data),
  };
}
