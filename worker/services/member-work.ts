/**
 * Work that every member does for a synchronous call: the members that are there are waited for, those that are away do it
 * when they return.
 */
import type { NewCommand } from '#worker/objects/contract.ts';
import type { LifecycleDraft } from '#worker/state/plan.ts';
import type { Statement } from '#worker/state/statement.ts';
import { locationOf, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { startOperation, waitForCreated } from './operations.ts';

export interface MemberWork {
  description: string;
  writes: Statement[];
  /** For members that are online: they are waited for. */
  now: NewCommand[];
  /** For members that are away: written in the same batch. */
  later: NewCommand[];
  /** When nobody is waited for, no result will announce the change: this does. */
  announcement: LifecycleDraft;
}

/** One batch, then the members' results. Throws `failed` with the text of the first member that could not. */
export async function runOnMembers(ctx: Authorized, work: MemberWork): Promise<void> {
  const { writes, now, later, announcement, description } = work;
  if (now.length === 0) {
    await makeChange(ctx, { writes, commands: later, events: [announcement] });
    return;
  }
  const operation = await startOperation(ctx, {
    operation: {
      project: 'default',
      class: 'task',
      description,
      resources: null,
      mayCancel: false,
      location: locationOf(ctx),
    },
    commands: now,
    converge: later,
    writes,
  });
  await waitForCreated(ctx, operation.id);
}

/** Splits commands by who is there to carry them out. */
export function byPresence(
  commands: NewCommand[],
  members: readonly { name: string; online: boolean }[],
): { now: NewCommand[]; later: NewCommand[] } {
  const online = new Set(members.filter((member) => member.online).map((member) => member.name));
  return {
    now: commands.filter((command) => online.has(command.member)),
    later: commands.filter((command) => !online.has(command.member)),
  };
}

/** A config without the keys that an empty value removes. */
export const withoutEmpty = (config: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''));

/** Whether two configs say the same. */
export const sameConfig = (a: Record<string, string>, b: Record<string, string>): boolean =>
  Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value);

/** The path of a resource with its project, as lists and `used_by` show it. */
export const resourceUrl = (collection: string, name: string, project: string): string =>
  `/1.0/${collection}/${encodeURIComponent(name)}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;
