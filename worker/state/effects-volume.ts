/** What results of `volume.*` commands do to the rows, and which lifecycle events they are. */
import { sql } from 'drizzle-orm';
import type { CommandParams } from '#protocol/commands.ts';
import { type EffectContext, type Effects, nothing } from './effect.ts';
import type { Plan } from './plan.ts';
import { volumeCondition } from './volumes.ts';

type VolumeEffects = Pick<Effects, Extract<keyof Effects, `volume.${string}`>>;
type VolumeContext = EffectContext<Extract<keyof Effects, `volume.${string}`>>;

const rowOf = ({ params, member }: VolumeContext, name = params.volume.name) =>
  volumeCondition({ pool: params.pool.name, project: params.volume.project, name, member });

function announce(plan: Plan, context: VolumeContext, change: string, more: { name?: string; context?: object } = {}) {
  const { pool, volume } = context.params;
  const name = more.name ?? volume.name;
  plan.event(
    {
      action: `storage-volume-${change}`,
      source: `/1.0/storage-pools/${encodeURIComponent(pool.name)}/volumes/custom/${encodeURIComponent(name)}`,
      project: volume.project,
      location: context.member,
      context: { type: 'custom', ...more.context },
    },
    sql`exists (select 1 from storage_volumes where ${rowOf(context, name)})`,
  );
}

/** The name it had, unless that has been given away meanwhile. */
function takeNameBack(plan: Plan, context: VolumeContext, { volume, newName }: CommandParams<'volume.rename'>): void {
  plan.write(sql`update storage_volumes set name = ${volume.name} where ${rowOf(context, newName)}
    and not exists (select 1 from storage_volumes where ${rowOf(context)}) and ${plan.guard}`);
}

export const VOLUME_EFFECTS: VolumeEffects = {
  'volume.create': {
    ok(plan, context) {
      plan.write(sql`update storage_volumes set status = 'Created' where ${rowOf(context)} and ${plan.guard}`);
      announce(plan, context, 'created');
    },
    failed(plan, context) {
      plan.write(sql`delete from storage_volumes where ${rowOf(context)} and status = 'Pending' and ${plan.guard}`);
      if (!context.abandoned) return;
      // The member may have made it, or be about to.
      const { pool, volume } = context.params;
      plan.command({ member: context.member, name: 'volume.delete', params: { pool, volume } }, null);
    },
  },
  'volume.update': {
    ok(plan, context) {
      const { description, config } = context.params.volume;
      plan.write(sql`update storage_volumes set description = ${description}, config = ${JSON.stringify(config)}
        where ${rowOf(context)} and ${plan.guard}`);
      announce(plan, context, 'updated');
    },
    failed: nothing,
  },
  'volume.rename': {
    ok(plan, context) {
      const { volume, newName } = context.params;
      announce(plan, context, 'renamed', { name: newName, context: { old_name: volume.name } });
    },
    failed: (plan, context) => takeNameBack(plan, context, context.params),
  },
  'volume.delete': {
    ok(plan, context) {
      announce(plan, context, 'deleted');
      plan.write(sql`delete from storage_volumes where ${rowOf(context)} and status = 'Created' and ${plan.guard}`);
    },
    failed: nothing,
  },
};
