/** The console of an instance (lxd-api 7.3), which is there without anybody looking, and what was on it. */
import type { InstanceConsolePost } from '#protocol/api/instance.ts';
import { AppError, badRequest } from '#protocol/errors.ts';
import type { Authorized } from './context.ts';
import { startProgram } from './instance-exec.ts';
import { readLog } from './instance-logs.ts';

/** Joins a client with the console. Throws 404, 400 when the instance does not run, 503 when its member is away. */
export async function openConsole(ctx: Authorized, project: string, name: string, body: InstanceConsolePost) {
  const { width, height, type } = body;
  if (type === 'vga') throw badRequest('VGA console is only supported by virtual machines');
  if (type !== '' && type !== 'console') throw badRequest(`Unknown console type "${type.slice(0, 64)}"`);
  for (const side of [width, height])
    if (side < 0 || side > 65_535) throw badRequest(`Invalid terminal size "${side}"`);
  const nothing = { command: ['console'], environment: {}, user: 0, group: 0, cwd: '/' };
  return startProgram(ctx, project, name, () => ({
    description: 'Showing console',
    interactive: true,
    attach: true,
    metadata: {},
    params: (target) => ({ ...target, ...nothing, width, height, interactive: true, attach: true, console: true }),
  }));
}

/** The end of what was on the console since the instance was made; nothing when it never ran. */
export async function readConsole(ctx: Authorized, project: string, name: string): Promise<string> {
  try {
    return await readLog(ctx, project, name, 'console.log');
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found' && error.message === 'Not Found') return '';
    throw error;
  }
}
