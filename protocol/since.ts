/**
 * What an agent of some protocol version understands. The first version had the names below; whatever else there is came
 * with a later one. An agent that is asked for something it does not know could only answer that the frame is bad, so the
 * control plane does not ask, and says what to do instead.
 */
import type { Command, CommandName } from './commands.ts';
import type { ControlFrame } from './frames.ts';
import type { QueryName } from './queries.ts';
import { BACKUP_PROTOCOL, METRICS_PROTOCOL, NAMES_PROTOCOL } from './version.ts';

const FIRST_COMMANDS: readonly CommandName[] = [
  'instance.create',
  'instance.state',
  'instance.update',
  'instance.rename',
  'instance.delete',
  'instance.exec',
  'image.inspect',
  'image.delete',
  'pool.create',
  'pool.update',
  'pool.delete',
  'network.create',
  'network.update',
  'network.delete',
];

const FIRST_QUERIES: readonly QueryName[] = [
  'instance.state',
  'instance.log',
  'pool.resources',
  'network.state',
  'network.leases',
  'file.open',
];

/** The version that brought what is not listed above. */
const SECOND = 2;
/** And the one that brought SFTP and consoles. */
const THIRD = 3;

/** The oldest protocol that has this command. */
export const protocolOfCommand = (name: CommandName): number => (FIRST_COMMANDS.includes(name) ? 1 : SECOND);

/** The oldest protocol whose agents do all that this command says: an older one would leave out what it cannot read. */
export function protocolOfOrder(command: Pick<Command, 'name' | 'params'>): number {
  const { params } = command;
  if ('console' in params && params.console !== undefined) return THIRD;
  const isCopy = 'copyOf' in params && params.copyOf !== undefined;
  const isSent = 'from' in params && params.from !== undefined;
  return isCopy || isSent ? SECOND : protocolOfCommand(command.name);
}

/** The oldest protocol that has this query. */
export function protocolOfQuery(name: QueryName): number {
  if (name === 'host.inventory') return BACKUP_PROTOCOL;
  if (name === 'sftp.open') return THIRD;
  return FIRST_QUERIES.includes(name) ? 1 : SECOND;
}

/** Whether an agent that speaks `protocol` can read the frame at all. */
export function isKnownTo(protocol: number, frame: ControlFrame): boolean {
  if (frame.type === 'command') return protocol >= protocolOfCommand(frame.name);
  if (frame.type === 'query') return protocol >= protocolOfQuery(frame.name);
  if (frame.type === 'changed') return protocol >= BACKUP_PROTOCOL;
  if (frame.type === 'metrics') return protocol >= METRICS_PROTOCOL;
  return frame.type !== 'names' || protocol >= NAMES_PROTOCOL;
}
