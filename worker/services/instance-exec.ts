/** Running a program in an instance (lxd-api 7.2). One read, one stream opened, one write: people wait for a prompt. */
import type { InstanceExecPost } from '#protocol/api/instance.ts';
import { badRequest } from '#protocol/errors.ts';
import { type Config, expandConfig } from '#worker/domain/config.ts';
import { newSecret, sha256Hex } from '#worker/lib/crypto.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline, requireRunning } from './instances.ts';
import { startOperation } from './operations.ts';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** The kernel's largest id but one: the last means "none". */
const MAX_ID = 4_294_967_294;
/** A frame must hold it, and the kernel takes no more than 2 MiB of arguments and environment. */
const COMMAND_LIMIT_BYTES = 256 * 1024;

/** Throws `bad_request` for what no host could run. */
function checkRequest(body: InstanceExecPost): void {
  if (body.command.length === 0) throw badRequest('No command provided');
  if (body['record-output']) throw badRequest('Recording output is not supported in this version');
  const texts = [...body.command, body.cwd, ...Object.entries(body.environment).flat()];
  if (texts.some((text) => text.includes('\0'))) throw badRequest('Command, environment and cwd may not contain NUL');
  if (Object.keys(body.environment).some((key) => !/^[^\s=]+$/.test(key)))
    throw badRequest('Invalid environment variable name');
  if (body.cwd !== '' && !body.cwd.startsWith('/')) throw badRequest('The working directory must be an absolute path');
  for (const id of [body.user, body.group])
    if (id < 0 || id > MAX_ID) throw badRequest(`Invalid user or group "${id}"`);
  for (const side of [body.width, body.height])
    if (side < 0 || side > 65_535) throw badRequest(`Invalid terminal size "${side}"`);
  if (texts.reduce((sum, text) => sum + text.length, 0) > COMMAND_LIMIT_BYTES) throw badRequest('Command is too long');
}

/** LXD's defaults, the instance's `environment.*`, and the request's own, later ones winning. */
export function execEnvironment(config: Config, body: Pick<InstanceExecPost, 'environment' | 'user'>): Config {
  const own = Object.entries(config).flatMap(([key, value]) =>
    key.startsWith('environment.') ? [[key.slice('environment.'.length), value]] : [],
  );
  const root = body.user === 0 ? { HOME: '/root', USER: 'root' } : {};
  return { PATH, LANG: 'C.UTF-8', ...root, ...Object.fromEntries(own), ...body.environment };
}

/** Starts the program. Throws 404, 400 when the instance does not run, 503 when its member is away. */
export async function execInstance(ctx: Authorized, project: string, name: string, body: InstanceExecPost) {
  checkRequest(body);
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
          params: {
            ref: { project, name },
            streamId: id,
            command: body.command,
            environment,
            interactive,
            width: body.width,
            height: body.height,
            user: body.user,
            group: body.group,
            cwd: body.cwd || defaultDirectory(environment, body.user),
            attach,
          },
        },
      ],
    });
  } catch (error) {
    // Nothing was started: the stream has nobody to wait for.
    if (attach) await ctx.objects.streams.abort(id, 'The command could not be started').catch(() => {});
    throw error;
  }
}

const defaultDirectory = (environment: Config, user: number) =>
  user === 0 && environment.HOME?.startsWith('/') ? environment.HOME : '/';

function newSecrets(interactive: boolean): Record<string, string> {
  const fds = interactive ? ['0', 'control'] : ['0', '1', '2', 'control'];
  return Object.fromEntries(fds.map((fd) => [fd, newSecret()]));
}

/** What is stored and compared: whoever reads the stream's opening cannot connect with it. */
async function hashes(secrets: Record<string, string>): Promise<Record<string, string>> {
  const entries = Object.entries(secrets).map(async ([fd, secret]) => [fd, await sha256Hex(secret)] as const);
  return Object.fromEntries(await Promise.all(entries));
}
