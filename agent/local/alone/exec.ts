/** Programs in this host's instances, their websockets on this host, too. */
import { randomUUID } from 'node:crypto';
import type { InstanceExecPost } from '#protocol/api/instance.ts';
import { checkExec, execEnvironment, execParams } from '#protocol/api/instance-exec.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { getRecord, statusOf } from '../../commands/instances.ts';
import type { AloneDeps } from './deps.ts';
import { instanceUrl } from './instances.ts';
import type { ApiOperation, Operations } from './operations.ts';
import { createLocalStream, type LocalStream } from './stream.ts';

export interface Execs {
  /** Throws 404, 400 when the instance does not run or the request could not be. */
  start(ref: InstanceRef, body: InstanceExecPost): Promise<ApiOperation>;
  /** The stream of an operation that runs. */
  findStream(operationId: string): LocalStream | null;
}

export function createExecs(deps: AloneDeps, operations: Operations): Execs {
  const streams = new Map<string, LocalStream>();
  return {
    findStream: (id) => streams.get(id) ?? null,
    start: async (ref, body) => {
      checkExec(body);
      const { spec } = getRecord(deps.host, ref);
      const status = await statusOf(deps.host, ref);
      if (status === 'Frozen') throw badRequest('Instance is frozen');
      if (status !== 'Running') throw badRequest('Instance is not running');
      const { command, interactive } = body;
      const environment = execEnvironment(spec.expandedConfig, body);
      const id = randomUUID();
      const attached = body['wait-for-websocket'] ? createLocalStream(interactive) : null;
      if (attached !== null) streams.set(id, attached);
      return operations.start(
        {
          id,
          project: ref.project,
          class: attached === null ? 'task' : 'websocket',
          description: 'Executing command',
          resources: { instances: [instanceUrl(ref)] },
          metadata: { command, environment, interactive, ...(attached === null ? {} : { fds: attached.fds }) },
        },
        async () => {
          try {
            const host = attached === null ? deps.host : { ...deps.host, openStream: async () => attached.stream };
            const params = execParams({ ref, streamId: id }, body, environment);
            const { exitCode, error } = await deps.perform(host, { name: 'instance.exec', params });
            if (error === null) {
              deps.keepEvent({ action: 'instance-exec', ...ref, status: null, context: { command } });
            }
            return { metadata: { return: exitCode }, err: error ?? '' };
          } finally {
            streams.delete(id);
            await attached?.stream.close();
          }
        },
      );
    },
  };
}
