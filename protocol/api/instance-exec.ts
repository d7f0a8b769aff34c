/** What a request to run a program asks of a host (lxd-api 7.2): its rules, its defaults, its control socket. Pure. */
import { z } from 'zod';
import type { CommandParams } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import type { ControlStreamFrame } from '#protocol/stream.ts';
import type { InstanceExecPost } from './instance.ts';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** The kernel's largest id but one: the last means "none". */
const MAX_ID = 4_294_967_294;
/** A frame must hold it, and the kernel takes no more than 2 MiB of arguments and environment. */
const COMMAND_LIMIT_BYTES = 256 * 1024;

/** Throws `bad_request` for what no host could run. */
export function checkExec(body: InstanceExecPost): void {
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

type Environment = Record<string, string>;

/** LXD's defaults, the instance's `environment.*`, and the request's own, later ones winning. */
export function execEnvironment(
  config: Environment,
  body: Pick<InstanceExecPost, 'environment' | 'user'>,
): Environment {
  const own = Object.entries(config).flatMap(([key, value]) =>
    key.startsWith('environment.') ? [[key.slice('environment.'.length), value]] : [],
  );
  const root = body.user === 0 ? { HOME: '/root', USER: 'root' } : {};
  return { PATH, LANG: 'C.UTF-8', ...root, ...Object.fromEntries(own), ...body.environment };
}

/** The command for the host, whose stream has the operation's id. */
export function execParams(
  target: { ref: { project: string; name: string }; streamId: string },
  body: InstanceExecPost,
  environment: Environment,
): CommandParams<'instance.exec'> {
  const { command, interactive, width, height, user, group } = body;
  const cwd = body.cwd || (user === 0 && environment.HOME?.startsWith('/') ? environment.HOME : '/');
  const attach = body['wait-for-websocket'];
  return { ...target, command, environment, interactive, width, height, user, group, cwd, attach };
}

/** The client's websockets: those the program needs to start, and its control. */
export const execFds = (interactive: boolean): string[] =>
  interactive ? ['0', 'control'] : ['0', '1', '2', 'control'];

const Size = z.coerce.number().int().min(0).max(65_535);

const Control = z.discriminatedUnion('command', [
  z.object({ command: z.literal('window-resize'), args: z.object({ width: Size, height: Size }) }),
  z.object({ command: z.literal('signal'), signal: z.number().int().min(1).max(64) }),
]);

/**
 * What a client says on the control socket of exec and console: JSON in text frames, from some clients in binary ones. Null
 * for commands we do not know: LXD ignores them.
 */
export function readControl(
  message: string | ArrayBuffer | Uint8Array,
): Extract<ControlStreamFrame, { type: 'resize' | 'signal' }> | null {
  try {
    const text = typeof message === 'string' ? message : new TextDecoder().decode(message);
    const control = Control.parse(JSON.parse(text));
    if (control.command === 'signal') return { type: 'signal', signal: control.signal };
    return { type: 'resize', width: control.args.width, height: control.args.height };
  } catch {
    return null;
  }
}
