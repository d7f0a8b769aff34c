/** What results of `instance.*` commands do to the rows, and which lifecycle events they are. */
import { type SQL, sql } from 'drizzle-orm';
import { stateEvent } from '#protocol/api/instance-state.ts';
import type { CommandParams } from '#protocol/commands.ts';
import type { InstanceReport } from '#protocol/inventory.ts';
import { type EffectContext, type Effects, nothing } from './effect.ts';
import { instanceResources, instanceUrl } from './instance-urls.ts';
import type { Plan } from './plan.ts';

/** Moves have a file of their own. */
type InstanceCommand = Exclude<Extract<keyof Effects, `instance.${string}`>, 'instance.send' | 'instance.receive'>;
type InstanceEffects = Pick<Effects, InstanceCommand>;
type SpecContext = EffectContext<'instance.create' | 'instance.state' | 'instance.update' | 'instance.rename'>;

/** The instance, as long as it is this member's. */
const ownRow = (context: SpecContext): SQL => sql`id = ${context.params.spec.id} and member = ${context.member}`;
const rowExists = (context: SpecContext): SQL => sql`exists (select 1 from instances where ${ownRow(context)})`;

/** RFC 7396: null removes the key, in one statement, so that an edit made meanwhile is kept. */
export const volatilePatch = (volatile: Record<string, string>, power: string | null): string =>
  JSON.stringify({
    ...Object.fromEntries(Object.entries(volatile).map(([key, value]) => [key, value === '' ? null : value])),
    ...(power === null ? {} : { 'volatile.last_state.power': power }),
  });

export function powerOf(report: InstanceReport): string | null {
  if (report.status === 'Stopped') return 'STOPPED';
  return report.status === 'Error' ? null : 'RUNNING';
}

function takeReport(
  plan: Plan,
  context: SpecContext,
  outcome: { report: InstanceReport; volatile: Record<string, string> },
  options: { power: boolean; used: boolean },
): void {
  const { report } = outcome;
  const state = report.state === null ? null : JSON.stringify(report.state);
  const patch = volatilePatch(outcome.volatile, options.power ? powerOf(report) : null);
  plan.write(sql`update instances set status = ${report.status}, state = ${state}, state_at = ${plan.now},
    config = json_patch(config, ${patch})${options.used ? sql`, last_used_at = ${plan.now}` : sql``}
    where ${ownRow(context)} and ${plan.guard}`);
}

function lifecycle(plan: Plan, context: SpecContext, action: string, more: { name?: string; context?: object } = {}) {
  const { project, name } = context.params.spec;
  const source = instanceUrl(project, more.name ?? name);
  const extra = more.context === undefined ? {} : { context: { ...more.context } };
  plan.event({ action, source, project, location: context.member, ...extra }, rowExists(context));
}

/** Deletes an ephemeral instance that has stopped, once: by an operation of its own. */
export function deleteEphemeral(
  plan: Plan,
  instance: { id: string; project: string; name: string; member: string },
  pool: CommandParams<'instance.delete'>['pool'],
): void {
  const { id, project, name, member } = instance;
  const due = sql`exists (select 1 from instances where id = ${id} and member = ${member} and ephemeral = 1 and status = 'Stopped')
    and not exists (select 1 from commands where name = 'instance.delete' and status = 'waiting' and member = ${member}
      and json_extract(params, '$.ref.project') = ${project} and json_extract(params, '$.ref.name') = ${name})`;
  const operationId = plan.operation(
    {
      project,
      class: 'task',
      description: 'Deleting instance',
      resources: instanceResources(project, name),
      mayCancel: false,
      location: member,
    },
    due,
  );
  plan.command({ member, name: 'instance.delete', params: { ref: { project, name }, pool, id } }, operationId, due);
}

/** Has the member take back what it made, for which there is no row. */
function deleteMade(plan: Plan, { member, params }: EffectContext<'instance.create'>, when?: SQL): void {
  const { spec, pool } = params;
  const ref = { project: spec.project, name: spec.name };
  plan.command({ member, name: 'instance.delete', params: { ref, pool, id: spec.id } }, null, when);
}

/** A refused change leaves the row; changes made meanwhile stay, and so does what the member may have done all the same. */
function takeBack(plan: Plan, context: EffectContext<'instance.update'>): void {
  const { undo } = context.params;
  if (undo === undefined || context.abandoned) return;
  const { config, devices, profiles, description, ephemeral, memoryBytes } = undo;
  const fields = [
    sql`config = json_patch(config, ${JSON.stringify(config)}), devices = json_patch(devices, ${JSON.stringify(devices)})`,
    profiles === undefined ? null : sql`profiles = ${JSON.stringify(profiles)}`,
    description === undefined ? null : sql`description = ${description}`,
    ephemeral === undefined ? null : sql`ephemeral = ${ephemeral ? 1 : 0}`,
    memoryBytes === undefined ? null : sql`memory_bytes = ${memoryBytes}`,
  ];
  const set = sql.join(
    fields.filter((field) => field !== null),
    sql`, `,
  );
  plan.write(sql`update instances set ${set} where ${ownRow(context)} and ${plan.guard}`);
}

export const INSTANCE_EFFECTS: InstanceEffects = {
  'instance.create': {
    ok(plan, context, result) {
      const started = context.params.start && result.report.status === 'Running';
      takeReport(plan, context, result, { power: true, used: started });
      const { type, expandedDevices } = context.params.spec;
      const pool = Object.values(expandedDevices).find((d) => d.type === 'disk' && d.path === '/')?.pool;
      lifecycle(plan, context, 'instance-created', {
        context: { type, 'storage-pool': pool ?? context.params.pool.name },
      });
      if (started) lifecycle(plan, context, 'instance-started');
      // A deletion that overtook this command on the way found nothing there.
      deleteMade(plan, context, sql`not exists (select 1 from instances where id = ${context.params.spec.id})`);
    },
    failed(plan, context) {
      plan.write(sql`delete from instances where ${ownRow(context)} and ${plan.guard}`);
      // The member may have made it, or be about to: deleting is right for what is not there, too.
      if (context.abandoned) deleteMade(plan, context);
    },
  },
  'instance.state': {
    ok(plan, context, result) {
      const { action, spec } = context.params;
      takeReport(plan, context, result, { power: true, used: action === 'start' || action === 'restart' });
      lifecycle(plan, context, stateEvent(context.params));
      if (action === 'stop') deleteEphemeral(plan, { ...spec, member: context.member }, context.facts.pool);
    },
    failed: nothing,
  },
  'instance.update': {
    ok(plan, context, result) {
      takeReport(plan, context, result, { power: false, used: false });
      lifecycle(plan, context, 'instance-updated');
    },
    failed: takeBack,
  },
  'instance.rename': {
    ok(plan, context, result) {
      const { spec, newName } = context.params;
      takeReport(plan, context, result, { power: false, used: false });
      plan.write(sql`update instances set name = ${newName} where ${ownRow(context)} and ${plan.guard}`);
      lifecycle(plan, context, 'instance-renamed', { name: newName, context: { old_name: spec.name } });
    },
    failed: nothing,
  },
  'instance.delete': {
    ok(plan, context) {
      const { project, name } = context.params.ref;
      // A newer instance of the same name is not the one this command was about.
      const row = sql`project = ${project} and name = ${name} and member = ${context.member} and created_at <= ${context.createdAt}`;
      const source = instanceUrl(project, name);
      const location = context.member;
      plan.event(
        { action: 'instance-deleted', source, project, location },
        sql`exists (select 1 from instances where ${row})`,
      );
      plan.write(sql`delete from instances where ${row} and ${plan.guard}`);
    },
    failed: nothing,
  },
  'instance.exec': {
    ok(plan, context, result) {
      const { ref, command } = context.params;
      const source = instanceUrl(ref.project, ref.name);
      const where = { source, project: ref.project, location: context.member };
      if (context.params.console) {
        plan.event({ ...where, action: 'instance-console', context: { type: 'console' } });
        return;
      }
      const patch = JSON.stringify({ return: result.exitCode });
      plan.write(sql`update operations set metadata = json_patch(coalesce(metadata, '{}'), ${patch})
        where id = ${context.operationId} and status < 200 and ${plan.guard}`);
      if (result.error !== null) return;
      plan.event({ ...where, action: 'instance-exec', context: { command } });
    },
    failed: nothing,
    refusal: (result) => result.error,
  },
};
