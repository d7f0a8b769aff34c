/** `instance.send`: the volume of an instance on its way to another host. */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import { badRequest, failed, notFound } from '#protocol/errors.ts';
import type { CommandContext, Host } from './host.ts';
import { getRecord, recordPower, refOf, statusOf, volumeName } from './instances.ts';

type Params = CommandParams<'instance.send'>;

/** From here on the other side may have everything: this side has no reason to fail any more. */
const MARK_ENDING = 'ending';
const PROGRESS_MS = 1_000;

/**
 * Gives the instance's volume away by the stream, once the other side listens; a running instance is stopped in between, so
 * that it does not stand still for a move that cannot be. The instance stays: what becomes of either copy is for the control
 * plane to say. Not taken up again after a crash of the agent.
 */
export async function sendInstance(
  host: Host,
  context: CommandContext,
  params: Params,
): Promise<CommandResult<'instance.send'>> {
  const { spec, streamId, stop, copy = false } = params;
  if (context.marks.has(MARK_ENDING)) return {};
  if (context.resumed) throw failed('The agent was restarted while it sent the instance');
  const record = getRecord(host, spec);
  if (record.spec.id !== spec.id) throw notFound('Instance');
  if (stop === null && !copy && (await statusOf(host, spec)) !== 'Stopped') throw badRequest('Instance is running');
  const storage = await host.pools.open(record.pool);
  const relay = host.openRelay(streamId);
  const { signal } = context;
  const tell = progressOf(context, params);
  await context.unslotted(async () => {
    await host.departures.acquire();
    try {
      await relay.awaitTarget(signal);
      if (stop !== null) await stopInstance(host, context, params, stop.timeoutSeconds);
      tell.begin();
      await storage.transfer.send(volumeName(spec), (content) =>
        relay.send(content, { signal, beforeEnd: () => context.marks.add(MARK_ENDING), onSent: tell.sent }),
      );
    } catch (error) {
      throw await relay.giveUp(signal.aborted ? signal.reason : error);
    } finally {
      host.departures.release();
    }
  });
  return {};
}

/** Thawed, so that its init can hear; killed when its time is over. It is not for this host to start it again. */
async function stopInstance(host: Host, context: CommandContext, params: Params, timeoutSeconds: number) {
  const { spec } = params;
  const ref = refOf(spec);
  const status = await statusOf(host, ref);
  if (status === 'Stopped') return;
  context.progress({ [params.progress]: `Stopping "${spec.name}" in project "${spec.project}"` });
  recordPower(host, ref, 'STOPPED');
  if (status === 'Frozen') await host.instances.unfreeze(ref);
  const timeoutMs = timeoutSeconds * 1000;
  await host.instances.stop(ref, { force: timeoutMs === 0, timeoutMs, signal: context.signal }).catch(async (error) => {
    if (context.signal.aborted) throw error;
    await host.instances.stop(ref, { force: true, timeoutMs: null });
  });
}

function progressOf(context: CommandContext, { spec, to, progress }: Params) {
  let sentBytes = 0;
  let startedMs = 0;
  let toldMs = 0;
  return {
    begin: () => {
      startedMs = toldMs = Date.now();
      const line = `Migrating "${spec.name}" in project "${spec.project}" to "${to}"`;
      context.progress({ [progress]: line });
    },
    sent: (bytes: number) => {
      sentBytes += bytes;
      const now = Date.now();
      if (now - toldMs < PROGRESS_MS) return;
      toldMs = now;
      const perSecond = sentBytes / ((now - startedMs) / 1000);
      const line = `${spec.name}: ${(sentBytes / 1e6).toFixed(2)}MB (${(perSecond / 1e6).toFixed(2)}MB/s)`;
      context.progress({ [progress]: line });
    },
  };
}
