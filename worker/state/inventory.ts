/**
 * What a member says of its instances. It speaks only of its own: a report about another member's instance is ignored. Rows
 * are written when they differ. A change that a waiting command is to make is left to that command's result; of any other a
 * lifecycle event tells.
 */
import { and, asc, eq, inArray, like, sql } from 'drizzle-orm';
import { type Command, type InstanceRef, parseCommand } from '#protocol/commands.ts';
import type { InstanceReport, InstanceStatus } from '#protocol/inventory.ts';
import { type Db, guardDb } from './db.ts';
import { deleteEphemeral } from './effects-instance.ts';
import type { Followup } from './followup.ts';
import { instanceUrl } from './instance-urls.ts';
import { type Plan, runPlan } from './plan.ts';
import { toPoolSpec } from './pools.ts';
import { commands, instances, storagePoolMembers, storagePools, warnings } from './schema.ts';
import { BROKEN_INSTANCE_WARNING, UNKNOWN_INSTANCE_WARNING, warningStatement } from './warnings.ts';

type InstanceRow = typeof instances.$inferSelect;
const keyOf = (ref: InstanceRef) => JSON.stringify([ref.project, ref.name]);

/** What happened when nobody asked for it; null: nothing that a lifecycle event tells. */
export function unaskedAction(from: InstanceStatus, to: InstanceStatus): string | null {
  if (from === to || from === 'Error' || to === 'Error') return null;
  if (to === 'Stopped') return 'instance-shutdown';
  if (to === 'Frozen') return 'instance-paused';
  return from === 'Frozen' ? 'instance-resumed' : 'instance-started';
}

/** The instances a command is about, under every name it may have on the host. */
function subjectsOf(command: Command): InstanceRef[] {
  switch (command.name) {
    case 'instance.create':
    case 'instance.state':
    case 'instance.update':
    case 'instance.send':
    case 'instance.receive':
      return [command.params.spec];
    case 'instance.rename': {
      const { spec, newName } = command.params;
      return [spec, { project: spec.project, name: newName }];
    }
    case 'instance.delete':
      return [command.params.ref];
    default:
      return [];
  }
}

async function readMember(db: Db, member: string) {
  const [rows, waiting, pools, known] = await guardDb(() =>
    db.batch([
      db.select().from(instances).where(eq(instances.member, member)),
      db
        .select()
        .from(commands)
        .where(and(eq(commands.member, member), eq(commands.status, 'waiting'), like(commands.name, 'instance.%')))
        .orderBy(asc(commands.createdAt)),
      db
        .select({ pool: storagePools, own: storagePoolMembers.config })
        .from(storagePools)
        .leftJoin(
          storagePoolMembers,
          and(eq(storagePoolMembers.pool, storagePools.name), eq(storagePoolMembers.member, member)),
        ),
      db
        .select({ id: warnings.id, type: warnings.type, entityUrl: warnings.entityUrl })
        .from(warnings)
        .where(
          and(
            inArray(warnings.type, [UNKNOWN_INSTANCE_WARNING, BROKEN_INSTANCE_WARNING]),
            eq(warnings.location, member),
            sql`${warnings.status} <> 'resolved'`,
          ),
        ),
    ]),
  );
  const busy = new Set(waiting.flatMap((row) => subjectsOf(parseCommand(row))).map(keyOf));
  return { rows, busy, pools, known };
}

/** Takes a report; throws when the database does not answer, then nothing was taken. */
export async function applyInventory(
  db: Db,
  {
    member,
    full,
    instances: reports,
    now,
  }: { member: string; full: boolean; instances: InstanceReport[]; now: string },
): Promise<Followup> {
  const { rows, busy, pools, known } = await readMember(db, member);
  const rowOf = new Map(rows.map((row) => [keyOf(row), row]));
  const reported = new Map(reports.map((report) => [keyOf(report), report]));
  return await runPlan(db, { now }, (plan) => {
    for (const [key, report] of reported) {
      const row = rowOf.get(key);
      if (row !== undefined) {
        take(plan, row, report, busy.has(key));
        const found = pools.find(({ pool }) => pool.name === row.pool);
        if (row.ephemeral && report.status === 'Stopped' && !busy.has(key))
          deleteEphemeral(plan, row, found ? toPoolSpec(found.pool, found.own ?? {}) : null);
      } else if (!busy.has(key)) {
        warnUnknown(plan, member, report);
      }
    }
    for (const warning of known) {
      if (isOver(warning, { rows, reports: [...reported.values()], full }))
        plan.write(sql`update warnings set status = 'resolved', last_seen_at = ${now} where id = ${warning.id}`);
    }
    if (!full) return;
    for (const [key, row] of rowOf) {
      if (!reported.has(key) && !busy.has(key)) lose(plan, row);
    }
  });
}

/** Whether what a warning tells of has ended, by what the member says now. */
function isOver(
  { type, entityUrl }: { type: string; entityUrl: string },
  { rows, reports, full }: { rows: InstanceRow[]; reports: InstanceReport[]; full: boolean },
): boolean {
  const report = reports.find((one) => urlOf(one) === entityUrl);
  const isRecorded = rows.some((row) => urlOf(row) === entityUrl);
  if (type === UNKNOWN_INSTANCE_WARNING) return isRecorded || (full && report === undefined);
  return !isRecorded || (report !== undefined && report.status !== 'Error');
}

function take(plan: Plan, row: InstanceRow, report: InstanceReport, busy: boolean): void {
  const state = report.state === null ? null : JSON.stringify(report.state);
  if (row.status === report.status && (row.state === null ? null : JSON.stringify(row.state)) === state) return;
  if (report.problem !== undefined && row.status !== 'Error') warnBroken(plan, row, report.problem);
  const action = busy ? null : unaskedAction(row.status, report.status);
  const own = sql`id = ${row.id} and member = ${row.member}`;
  if (action !== null) {
    const { project, name } = row;
    plan.event(
      { action, source: instanceUrl(project, name), project, location: row.member },
      sql`exists (select 1 from instances where ${own} and status = ${row.status})`,
    );
  }
  plan.write(
    sql`update instances set status = ${report.status}, state = ${state}, state_at = ${plan.now} where ${own}`,
  );
}

/** The host does not have it: shown as an error, never deleted, since a disk may only be missing. */
function lose(plan: Plan, row: InstanceRow): void {
  if (row.status === 'Error' && row.state === null) return;
  warnBroken(plan, row, `Cluster member "${row.member}" does not have the instance`);
  plan.write(sql`update instances set status = 'Error', state = null, state_at = ${plan.now}
    where id = ${row.id} and member = ${row.member}`);
}

const urlOf = (ref: InstanceRef) => instanceUrl(ref.project, ref.name);

function warnBroken(plan: Plan, row: InstanceRow, reason: string): void {
  const { project, name, member } = row;
  const entityUrl = urlOf(row);
  const message = `Instance "${name}": ${reason}`;
  plan.write(
    warningStatement({
      type: BROKEN_INSTANCE_WARNING,
      severity: 'high',
      location: member,
      project,
      entityUrl,
      message,
      now: plan.now,
    }),
  );
}

function warnUnknown(plan: Plan, member: string, report: InstanceReport): void {
  const { project, name, status } = report;
  plan.write(
    warningStatement({
      type: UNKNOWN_INSTANCE_WARNING,
      severity: 'moderate',
      location: member,
      project,
      entityUrl: urlOf(report),
      message: `Cluster member "${member}" has an instance "${name}" (${status}) that is not recorded there`,
      now: plan.now,
    }),
  );
}
