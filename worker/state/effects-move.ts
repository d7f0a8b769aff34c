/**
 * What becomes of an instance that moves. The target's result alone decides: when it has everything, the row names it and the
 * source's copy goes; otherwise the row stays, and so does the source's copy. Whatever is killed in between, one is left.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { CommandParams, CommandResult, InstanceSpec } from '#protocol/commands.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { type EffectContext, type Effects, nothing } from './effect.ts';
import { powerOf, volatilePatch } from './effects-instance.ts';
import { instanceUrl } from './instance-urls.ts';
import type { Plan } from './plan.ts';

type Context = EffectContext<'instance.receive'>;

const isOn = (id: string, member: string): SQL =>
  sql`exists (select 1 from instances where id = ${id} and member = ${member})`;

const start = (member: string, spec: InstanceSpec): NewCommand => ({
  member,
  name: 'instance.state',
  params: { spec, action: 'start', timeoutSeconds: 0, force: false },
});

const remove = (member: string, spec: InstanceSpec, pool: CommandParams<'instance.delete'>['pool']): NewCommand => ({
  member,
  name: 'instance.delete',
  params: { ref: { project: spec.project, name: spec.name }, pool, id: spec.id },
});

const stopMoving = (plan: Plan, { member, params }: Context): void =>
  plan.write(sql`update instances set moving_to = null
    where id = ${params.spec.id} and moving_to = ${member} and ${plan.guard}`);

/** True unless the copy at the source was told to do something after this move had begun: then that copy is the instance. */
function isUntouched({ id, params }: Context): SQL {
  const { spec, from } = params;
  return sql`not exists (select 1 from commands as later where later.member = ${from}
    and later.name in ('instance.state', 'instance.rename', 'instance.delete')
    and later.rowid > (select rowid from commands where id = ${id})
    and (json_extract(later.params, '$.spec.id') = ${spec.id} or (json_extract(later.params, '$.ref.project') = ${spec.project}
      and json_extract(later.params, '$.ref.name') = ${spec.name})))`;
}

function arrive(plan: Plan, context: Context, { report, volatile }: CommandResult<'instance.receive'>): void {
  const { member, operationId, params } = context;
  const { spec, from, pool } = params;
  const state = report.state === null ? null : JSON.stringify(report.state);
  const patch = volatilePatch({ ...volatile, ...params.volatile }, powerOf(report));
  plan.write(sql`update instances set member = ${member}, moving_to = null, status = ${report.status}, state = ${state},
    state_at = ${plan.now}, config = json_patch(config, ${patch})
    where id = ${spec.id} and member = ${from} and moving_to = ${member} and ${isUntouched(context)} and ${plan.guard}`);
  stopMoving(plan, context);
  const moved = isOn(spec.id, member);
  const { project, name } = spec;
  plan.event({ action: 'instance-updated', source: instanceUrl(project, name), project, location: member }, moved);
  plan.command(remove(from, spec, null), null, moved);
  if (params.start) plan.command(start(member, spec), operationId, moved);
  // The row went, or went its own way, meanwhile.
  plan.command(remove(member, spec, pool), null, sql`not ${moved}`);
  plan.write(sql`update operations set status = 400, err = ${`Instance "${name}" was changed while it moved`}
    where id = ${operationId} and status < 200 and not ${moved} and ${plan.guard}`);
}

function stay(plan: Plan, context: Context): void {
  const { member, abandoned, params } = context;
  const { spec, from, pool, evacuates } = params;
  stopMoving(plan, context);
  // It may have it, or be about to: deleting is right for what is not there, too.
  if (abandoned) plan.command(remove(member, spec, pool), null);
  if (params.start) plan.command(start(from, spec), null, isOn(spec.id, from));
  if (evacuates === null) return;
  plan.write(
    sql`update members set state = 'Created' where name = ${evacuates} and state = 'Evacuated' and ${plan.guard}`,
  );
}

export const MOVE_EFFECTS: Pick<Effects, 'instance.send' | 'instance.receive'> = {
  /** What went wrong at the source, the target learns by the stream. */
  'instance.send': { ok: nothing, failed: nothing },
  'instance.receive': { ok: arrive, failed: stay },
};
