/** Logs of an instance: small text files that only its member has. */
import { AppError, badRequest } from '#protocol/errors.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline } from './instances.ts';

/** What members can show: liblxc's log and the config it started with. */
export const LOG_FILES = ['lxc.log', 'lxc.conf'] as const;

/** LXD's rule for log names; keeps paths out. */
function checkLogName(file: string): void {
  const known =
    LOG_FILES.some((name) => name === file) || file === 'console.log' || /^(exec|snapshot)_[\w.-]+$/.test(file);
  if (!known || file.length > 255) throw badRequest(`Log file name "${file.slice(0, 255)}" not valid`);
}

/** The paths of the instance's logs. */
export async function listLogs(ctx: Authorized, project: string, name: string): Promise<string[]> {
  await getInstance(ctx, project, name);
  const query = project === 'default' ? '' : `?project=${encodeURIComponent(project)}`;
  return LOG_FILES.map((file) => `/1.0/instances/${name}/logs/${file}${query}`);
}

/** The end of a log. Throws 404 `Not Found` when there is none, 503 when the member is away. */
export async function readLog(ctx: Authorized, project: string, name: string, file: string): Promise<string> {
  checkLogName(file);
  const loaded = await getInstance(ctx, project, name);
  requireOnline(loaded);
  try {
    return (await ctx.objects.links.query(loaded.row.member, 'instance.log', { project, name, file })).text;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
    throw new AppError('not_found', 'Not Found', { cause: error });
  }
}

/** Throws: the logs that there are belong to the runtime. */
export async function deleteLog(ctx: Authorized, project: string, name: string, file: string): Promise<void> {
  checkLogName(file);
  await getInstance(ctx, project, name);
  throw badRequest('Only log files excluding qemu.log, lxc.log and lxc.conf may be deleted');
}
