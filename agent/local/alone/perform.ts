/** Runs what is asked for on this host by the executors of the control plane's commands, in turn with those. */
import { randomUUID } from 'node:crypto';
import {
  type CommandName,
  type CommandParams,
  type CommandResult,
  type InstanceRef,
  parseCommand,
} from '#protocol/commands.ts';
import { unavailable } from '#protocol/errors.ts';
import { execute } from '../../commands/executors.ts';
import type { Dispatcher } from '../../dispatcher.ts';
import type { AloneDeps } from './deps.ts';

/** `touch`: the instance has changed with no result to tell of it. */
export function createPerform(deps: {
  dispatcher: Pick<Dispatcher, 'runLocal'>;
  touch(ref: InstanceRef): void;
}): AloneDeps['perform'] {
  return <N extends CommandName>(host: AloneDeps['host'], command: { name: N; params: CommandParams<N> }) =>
    new Promise<CommandResult<N>>((resolve, reject) => {
      const taken = parseCommand({ id: `local:${randomUUID()}`, ...command });
      const work = deps.dispatcher.runLocal(taken, (context) => execute(host, context, command).then(resolve, reject));
      void work.then(() => {
        // Without effect when it has run.
        reject(unavailable('The agent is stopping'));
        if (taken.name === 'instance.state') deps.touch(taken.params.spec);
      });
    });
}
