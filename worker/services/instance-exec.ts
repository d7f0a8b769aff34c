/** Running a program in an instance (lxd-api 7.2). One read, one stream opened, one write: people wait for a prompt. */
import type { InstanceExecPost } from '#protocol/api/instance.ts';
import { checkExec, execEnvironment, execFds, execParams } from '#protocol/api/instance-exec.ts';
import type { CommandParams } from '#protocol/commands.ts';
import { expandConfig } from '#worker/domain/config.ts';
import { newSecret, sha256Hex } from '#worker/lib/crypto.ts';
import type { LoadedInstance } from '#worker/state/instance-queries.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline, requireRunning } from './instances.ts';
import { startOperation } from './operations.ts';

/** What is to be joined with a client, or run on its own. */
export interface Program {
  description: string;
  interactive: boolean;
  attach: boolean;
  /** Of the operation, its sockets aside. */
  metadata: Record<string, unknown>;
  params(target: ProgramTarget): CommandParams<'instance.exec'>;
}

export type ProgramTarget = Pick<CommandParams<'instance.exec'>, 'ref' | 'streamId'>;

/** Starts the program. Throws 404, 400 when the instance does not run, 503 when its member is away. */
export async function execInstance(ctx: Authorized, project: string, name: string, body: InstanceExecPost) {
  checkExec(body);
  return startProgram(ctx, project, name, (loaded) => {
    const environment = execEnvironment(expandConfig(loaded.profiles, loaded.row.config), body);
    const { command, interactive } = body;
    return {
      description: 'Executing command',
      interactive,
      attach: body['wait-for-websocket'],
      metadata: { command, environment, interactive },
      params: (target) => execParams(target, body, environment),
    };
  });
}

/** Starts what `describe` makes of the instance, in an operation. Throws as `execInstance`. */
export async function startProgram(
  ctx: Authorized,
  project: string,
  name: string,
  describe: (loaded: LoadedInstance) => Program,
) {
  const loaded = await getInstance(ctx, project, name);
  requireOnline(loaded);
  requireRunning(loaded.row);
  const { member } = loaded.row;
  const { description, interactive, attach, metadata, params } = describe(loaded);
  const id = ctx.newId();
  const secrets = attach ? newSecrets(interactive) : {};
  if (attach) await ctx.objects.streams.open({ id, member, kind: 'exec', fds: await hashes(secrets), interactive });
  try {
    return await startOperation(ctx, {
      operation: {
        id,
        project,
        class: attach ? 'websocket' : 'task',
        description,
        resources: instanceResources(project, name),
        metadata: { ...metadata, ...(attach ? { fds: secrets } : {}) },
        mayCancel: false,
        location: member,
      },
      commands: [{ member, name: 'instance.exec', params: params({ ref: { project, name }, streamId: id }) }],
    });
  } catch (error) {
    // Nothing was started: the stream has nobody to wait for.
    if (attach) await ctx.objects.streams.abort(id, 'The command could not be started').catch(() => {});
    throw error;
  }
}

function newSecrets(interactive: boolean): Record<string, string> {
  return Object.fromEntries(execFds(interactive).map((fd) => [fd, newSecret()]));
}

/** What is stored and compared: whoever reads the stream's opening cannot connect with it. */
async function hashes(secrets: Record<string, string>): Promise<Record<string, string>> {
  const entries = Object.entries(secrets).map(async ([fd, secret]) => [fd, await sha256Hex(secret)] as const);
  return Object.fromEntries(await Promise.all(entries));
}
