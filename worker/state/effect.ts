/** What an effect is: the statements that a command's result adds to the batch which applies it. */
import type { CommandName, CommandParams, CommandResult } from '#protocol/commands.ts';
import type { WireError } from '#protocol/errors.ts';
import type { ImageRow } from './images.ts';
import type { Plan } from './plan.ts';

/** What was read beside the command, because its effect may need it. */
export interface Facts {
  /** The pool of the command's instance as the member has it; null when there is none. */
  pool: CommandParams<'instance.delete'>['pool'];
  /** Pending rows of the image the command inspects. */
  pendingImages: ImageRow[];
}

export interface EffectContext<N extends CommandName> {
  id: string;
  member: string;
  params: CommandParams<N>;
  createdAt: string;
  operationId: string | null;
  /** The operation's project, or the default one. */
  project: string;
  /** The control plane cancelled it: whether the member ran it is not known. */
  abandoned: boolean;
  facts: Facts;
}

export interface Effect<N extends CommandName> {
  ok(plan: Plan, context: EffectContext<N>, result: CommandResult<N>): void;
  failed(plan: Plan, context: EffectContext<N>, error: WireError): void;
  /** For results that are an answer and a failure at once: the text of the failure, or null. */
  refusal?(result: CommandResult<N>): string | null;
}

export type Effects = { [N in CommandName]: Effect<N> };

export const nothing = (): void => {};
