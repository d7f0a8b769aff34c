/** What an agent is given by its age: one that is too old for the cluster, or for one command only. Pure. */
import type { CommandName } from '#protocol/commands.ts';
import { failed, toWireError, type WireError } from '#protocol/errors.ts';
import type { QueryName } from '#protocol/queries.ts';
import { protocolOfOrder } from '#protocol/since.ts';
import { upgradeAdvice } from '#worker/domain/member.ts';
import type { Order } from './contract.ts';
import type { Attachment } from './link-sockets.ts';

type Age = Pick<Attachment, 'member' | 'protocol' | 'blocked'>;

/**
 * `refuse`: somebody waits for a command that the agent does not know. `wait`: it stays in libSQL until the agent is newer; an
 * agent that is too old for the cluster gets nothing but its own upgrade.
 */
export function fateOf(
  { protocol, blocked }: Age,
  order: Pick<Order, 'name' | 'params' | 'operationId'>,
): 'send' | 'wait' | 'refuse' {
  const isKnown = protocol >= protocolOfOrder(order);
  if (blocked && !(isKnown && order.name === 'agent.upgrade'))
    return order.name === 'agent.upgrade' ? 'refuse' : 'wait';
  if (isKnown) return 'send';
  return order.operationId === null ? 'wait' : 'refuse';
}

/** What whoever asked is told. */
export const tooOldFor = ({ member, protocol }: Age, name: CommandName | QueryName): WireError =>
  toWireError(
    failed(
      `The agent of cluster member "${member}" is too old for ${name} (protocol ${protocol}): ${upgradeAdvice(member, protocol)}`,
    ),
  );
