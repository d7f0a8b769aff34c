/** `instance.exec`: one program in a running instance, joined with the operation's stream. */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import { badRequest, cancelled, failed } from '#protocol/errors.ts';
import type { ExecRequest } from '../drivers/instance/driver.ts';
import { pumpExec } from '../streams/exec.ts';
import type { AgentStream } from '../streams/stream.ts';
import type { CommandContext, Host } from './host.ts';
import { getRecord, statusOf } from './instances.ts';

type Params = CommandParams<'instance.exec'>;

/** Of a program that is not there, as shells and LXD tell it. */
const SPECIAL_EXIT: Record<number, string> = { 126: 'Command not executable', 127: 'Command not found' };

/** Of lxc-console when another one is there before it; an instance that stops ends it with 0, a client that leaves by a signal. */
const CONSOLE_REFUSED = 1;

/** Runs the program at most once: after a crash of the agent it is not run again but reported as lost. */
export async function execInstance(
  host: Host,
  context: CommandContext,
  params: Params,
): Promise<CommandResult<'instance.exec'>> {
  if (context.resumed) throw failed('The agent was restarted while the command ran');
  getRecord(host, params.ref);
  const status = await statusOf(host, params.ref);
  if (status === 'Frozen') throw badRequest('Instance is frozen');
  if (status !== 'Running') throw badRequest('Instance is not running');
  const exitCode = await context.unslotted(() =>
    params.attach ? runAttached(host, context, params) : runDetached(host, context, params),
  );
  if (context.signal.aborted) throw cancelled();
  if (params.console) return { exitCode, error: exitCode === CONSOLE_REFUSED ? 'The console is in use already' : null };
  return { exitCode, error: SPECIAL_EXIT[exitCode] ?? null };
}

async function runAttached(host: Host, context: CommandContext, params: Params): Promise<number> {
  const stream = await host.openStream(params.streamId);
  try {
    await startOf(stream, context.signal);
    const process = params.console
      ? await host.instances.console(params.ref, params)
      : await host.instances.exec(params.ref, requestOf(params));
    return await pumpExec(process, stream, params.interactive, context.signal);
  } finally {
    await stream.close();
  }
}

/** The control plane ends a stream whose clients do not come; there is no second clock here. */
async function startOf(stream: AgentStream, signal: AbortSignal): Promise<void> {
  const cancel = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(cancelled()), { once: true });
    if (signal.aborted) reject(cancelled());
  });
  await Promise.race([stream.started, cancel]);
}

async function runDetached(host: Host, context: CommandContext, params: Params): Promise<number> {
  const process = await host.instances.exec(params.ref, requestOf(params));
  process.onOutput(() => {});
  process.endInput();
  const kill = () => process.signal(9);
  context.signal.addEventListener('abort', kill, { once: true });
  if (context.signal.aborted) kill();
  return process.exited;
}

function requestOf(params: Params): ExecRequest {
  const { command, environment, user, group, cwd } = params;
  const terminal = params.interactive ? { width: params.width, height: params.height } : null;
  return { command, environment, user, group, cwd, terminal };
}
