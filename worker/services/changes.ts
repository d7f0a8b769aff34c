/**
 * Changes that are done when the request is answered: rows, lifecycle events and commands that only converge members, in
 * one batch. What takes a host's time is an operation instead (`operations.ts`).
 */
import { applyChange, type Change } from '#worker/state/changes.ts';
import type { Followup } from '#worker/state/followup.ts';
import type { LifecycleDraft } from '#worker/state/plan.ts';
import type { Authorized, Context, Principal } from './context.ts';

/** As `applyChange`, and tells listeners and members. These learn it later by themselves when telling them fails. */
export async function makeChange(ctx: Authorized, change: Change): Promise<void> {
  await spread(ctx, await applyChange(ctx.db, ctx.now(), change));
}

/** Publishes events and wakes members. Everything is durable already, so a failure here is only logged. */
export async function spread(ctx: Context, followup: Followup): Promise<void> {
  const results = await Promise.allSettled([
    followup.events.length === 0 ? Promise.resolve() : ctx.objects.cluster.publish(followup.events),
    ...followup.deliveries.map(({ member, orders }) => ctx.objects.links.deliver(member, orders)),
  ]);
  for (const result of results) {
    if (result.status === 'rejected') ctx.log.warn('change.spread.failed', {}, result.reason);
  }
}

/** Who did it, as lifecycle events say it. */
export const requestorOf = ({ username, protocol, address }: Principal) => ({ username, protocol, address });

/** Where a request was served: the local socket's member, else the control plane, which is on none. */
export const locationOf = (ctx: Authorized): string => ctx.principal.member ?? 'none';

/** A lifecycle event about `source` (`/1.0/…`) by the caller. Project null: every listener gets it. */
export const lifecycle = (
  ctx: Authorized,
  action: string,
  source: string,
  project: string | null = null,
  context?: Record<string, unknown>,
): LifecycleDraft => ({
  action,
  source,
  project,
  location: locationOf(ctx),
  requestor: requestorOf(ctx.principal),
  ...(context === undefined ? {} : { context }),
});
