/** Command name → what its result does. Exhaustive: a command without an effect does not compile. */
import { sql } from 'drizzle-orm';
import { type Effects, nothing } from './effect.ts';
import { INSTANCE_EFFECTS } from './effects-instance.ts';
import { MOVE_EFFECTS } from './effects-move.ts';
import { VOLUME_EFFECTS } from './effects-volume.ts';
import { resourceCreated, resourceDeleted, resourceMessage, resourceUpdated } from './resource-status.ts';

export const EFFECTS: Effects = {
  ...INSTANCE_EFFECTS,
  ...MOVE_EFFECTS,
  ...VOLUME_EFFECTS,
  'image.inspect': {
    ok(plan, context, result) {
      for (const { project, fingerprint, type } of context.facts.pendingImages) {
        const row = sql`project = ${project} and fingerprint = ${fingerprint} and status = 'pending'`;
        plan.event(
          {
            action: 'image-created',
            source: `/1.0/images/${fingerprint}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`,
            project,
            location: context.member,
            context: { type },
          },
          sql`exists (select 1 from images where ${row})`,
        );
        // Properties given with the upload win over the image's own.
        plan.write(sql`update images set status = 'ready', architecture = ${result.architecture},
          properties = json_patch(${JSON.stringify(result.properties)}, properties),
          created_at = ${result.createdAt}, expires_at = ${result.expiresAt} where ${row} and ${plan.guard}`);
      }
    },
    failed(plan, context) {
      for (const { project, fingerprint } of context.facts.pendingImages) {
        plan.write(sql`delete from images where project = ${project} and fingerprint = ${fingerprint}
          and status = 'pending' and ${plan.guard}`);
      }
    },
  },
  /** The image's row went with the request; this only frees the member's disk. */
  'image.delete': { ok: nothing, failed: nothing },
  'pool.create': {
    ok: (plan, { params, member }, { config }) =>
      resourceCreated(plan, 'pool', { name: params.pool.name, member }, { config }),
    failed: (plan, { params, member }, { message }) =>
      resourceCreated(plan, 'pool', { name: params.pool.name, member }, { message }),
  },
  'pool.update': {
    ok: (plan, { id, params, member, operationId }) =>
      resourceUpdated(plan, 'pool', { name: params.pool.name, member, operationId, commandId: id }, { config: {} }),
    failed(plan, { id, params, member, operationId }, { message }) {
      resourceUpdated(plan, 'pool', { name: params.pool.name, member, operationId, commandId: id }, { message });
      if (params.sizeBefore === undefined) return;
      plan.write(sql`update storage_pool_members
        set config = json_patch(config, ${JSON.stringify({ size: params.sizeBefore })})
        where pool = ${params.pool.name} and member = ${member} and ${plan.guard}`);
    },
  },
  'pool.delete': {
    ok: (plan, { id, params, member, operationId }) =>
      resourceDeleted(plan, 'pool', { name: params.pool.name, member, operationId, commandId: id }),
    failed: (plan, { params, member }, { message }) =>
      resourceMessage(plan, 'pool', { name: params.pool.name, member }, message),
  },
  'network.create': {
    ok: (plan, { params, member }, { config }) =>
      resourceCreated(plan, 'network', { name: params.network.name, member }, { config }),
    failed: (plan, { params, member }, { message }) =>
      resourceCreated(plan, 'network', { name: params.network.name, member }, { message }),
  },
  'network.update': {
    ok: (plan, { id, params, member, operationId }, { config }) =>
      resourceUpdated(plan, 'network', { name: params.network.name, member, operationId, commandId: id }, { config }),
    failed: (plan, { id, params, member, operationId }, { message }) =>
      resourceUpdated(plan, 'network', { name: params.network.name, member, operationId, commandId: id }, { message }),
  },
  'agent.upgrade': { ok: nothing, failed: nothing },
  'network.delete': {
    ok: (plan, { id, params, member, operationId }) =>
      resourceDeleted(plan, 'network', { name: params.name, member, operationId, commandId: id }),
    failed: (plan, { params, member }, { message }) =>
      resourceMessage(plan, 'network', { name: params.name, member }, message),
  },
};
