/** Running a program in an instance (lxd-api 7.2). One read, one stream opened, one write: people wait for a prompt. */
import type { InstanceExecPost } from '#protocol/api/instance.ts';
import { checkExec, execEnvironment, execFds, execParams } from '#protocol/api/instance-exec.ts';
import { expandConfig } from '#worker/domain/config.ts';
import { newSecret, sha256Hex } from '#worker/lib/crypto.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline, requireRunning } from './instances.ts';
import { startOperation } from './operations.ts';

/** Starts the program. Throws 404, 400 when the instance does not run, 503 when its member is away. */
export async function execInstance(ctx: Authorized, project: string, name: string, body: InstanceExecPost) {
  checkExec(body);
  const loaded = await getInstance(ctx, project, name);
  requireOnline(loaded);
  requireRunning(loaded.row);
  const { member } = loaded.row;
  const { interactive } = body;
  const attach = body['wait-for-websocket'];
  const environment = execEnvironment(expandConfig(loaded.profiles, loaded.row.config), body);
  const id = ctx.newId();
  const secrets = attach ? newSecrets(interactive) : {};
  if (attach) await ctx.objects.streams.open({ id, member, kind: 'exec', fds: await hashes(secrets), interactive });
  try {
    return await startOperation(ctx, {
      operation: {
        id,
        project,
        class: attach ? 'websocket' : 'task',
        description: 'Executing command',
        resources: instanceResources(project, name),
        metadata: { command: body.command, environment, interactive, ...(attach ? { fds: secrets } : {}) },
        mayCancel: false,
        location: member,
      },
      commands: [
        {
          member,
          name: 'instance.exec',
          params: execParams({ ref: { project, name }, streamId: id }, body, environment),
        },
      ],
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
