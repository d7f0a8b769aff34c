/** The end of what triggers launched: instances whose time is over, or whose end the sender has told. */
import { AppError } from '#protocol/errors.ts';
import { listOverdue, type Overdue } from '#worker/state/trigger-launches.ts';
import type { Authorized } from './context.ts';
import { changeState, deleteInstance } from './instance-state.ts';
import type { ApiOperation } from './operations.ts';

/** One run's work; the rest is for the next. */
const AT_ONCE = 50;

/**
 * Takes each overdue instance one step towards its end: what runs is stopped, what is stopped deleted. Repeating it is
 * harmless, and one whose member is away is ended when that returns. With `only`, looks at that one alone and answers the
 * operation, if it could start one.
 */
export async function endOverdue(
  ctx: Authorized,
  only?: { triggerId: string; name: string },
): Promise<ApiOperation | null> {
  const due = await listOverdue(ctx.db, { now: ctx.now(), limit: AT_ONCE, ...(only === undefined ? {} : { only }) });
  let started: ApiOperation | null = null;
  for (const instance of due) {
    try {
      started = await endOne(ctx, instance);
      ctx.log.info('trigger.instance.ending', { instance: instance.name, operationId: started.id });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      // Gone or changed meanwhile, protected, or its member went away: the next run sees.
      ctx.log.info('trigger.instance.stays', { instance: instance.name, code: error.code, reason: error.message });
    }
  }
  return started;
}

function endOne(ctx: Authorized, { project, name, status }: Overdue): Promise<ApiOperation> {
  if (status === 'Stopped') return deleteInstance(ctx, project, name);
  return changeState(ctx, project, name, { action: 'stop', timeout: -1, force: true, stateful: false });
}
