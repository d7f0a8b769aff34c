/** `instance.state`: start, stop, restart, freeze, unfreeze, with LXD's refusals when it is there already. */
import type { CommandParams, InstanceSpec, StateAction } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { InstanceStatus } from '#protocol/inventory.ts';
import type { InstanceNic } from '../drivers/instance/driver.ts';
import type { CommandContext, Host } from './host.ts';
import {
  applyRootSize,
  configureInstance,
  getRecord,
  type InstanceOutcome,
  killInstance,
  outcomeOf,
  recordPower,
  refOf,
  statusOf,
  volumeName,
} from './instances.ts';
import { runSteps } from './steps.ts';
import { applyTemplates } from './templates.ts';

type Params = CommandParams<'instance.state'>;

/** For a graceful stop that names no time: longer than any init gives its services. */
const DEFAULT_STOP_TIMEOUT_MS = 600_000;

/** The instance had been stopped by this restart before the agent was killed. */
const MARK_STOPPED = 'stopped';

/** Does the action and answers what the instance is then. */
export async function changeInstanceState(
  host: Host,
  context: CommandContext,
  params: Params,
): Promise<InstanceOutcome> {
  const { spec, action } = params;
  if (await isLost(host, params)) return { report: { ...refOf(spec), status: 'Stopped', state: null }, volatile: {} };
  const record = getRecord(host, spec);
  host.journal.instances.put({ ...record, spec });
  const status = await statusOf(host, spec);
  const refusal = context.resumed ? null : refuse(action, status);
  if (refusal !== null) throw failed(refusal);
  if (params.evacuation) tellEvacuation(context, params);
  const nics = await act(host, context, params, status);
  // Here too, for a command whose effect an earlier process had already made.
  recordPower(host, spec, action === 'stop' ? 'STOPPED' : 'RUNNING');
  return outcomeOf(host, spec, nics);
}

/**
 * A forced stop of an instance that the host does not have, or not the volume of: clients stop what is in `Error` before they
 * delete it, and it is as stopped as it can be.
 */
async function isLost(host: Host, { spec, action, force }: Params): Promise<boolean> {
  if (action !== 'stop' || !force || (await statusOf(host, spec)) !== 'Stopped') return false;
  const record = host.journal.instances.find(spec);
  if (record === undefined) return true;
  const storage = await host.pools.open(record.pool);
  return !(await storage.listInstanceVolumes()).includes(volumeName(spec));
}

function tellEvacuation(context: CommandContext, { action, spec }: Params): void {
  const doing = action === 'stop' ? 'Stopping' : 'Starting';
  context.progress({ evacuation_progress: `${doing} "${spec.name}" in project "${spec.project}"` });
}

async function act(
  host: Host,
  context: CommandContext,
  params: Params,
  status: InstanceStatus,
): Promise<InstanceNic[] | undefined> {
  const { spec, action } = params;
  const ref = refOf(spec);
  switch (action) {
    case 'start':
      return status === 'Stopped' || status === 'Error' ? bringUp(host, context.signal, spec) : undefined;
    case 'stop':
      await bringDown(host, context, params);
      return undefined;
    case 'restart':
      if (!context.marks.has(MARK_STOPPED)) {
        await bringDown(host, context, params);
        context.marks.add(MARK_STOPPED);
      }
      return (await statusOf(host, spec)) === 'Stopped' ? bringUp(host, context.signal, spec) : undefined;
    case 'freeze':
      await host.instances.freeze(ref);
      return undefined;
    case 'unfreeze':
      await host.instances.unfreeze(ref);
      return undefined;
  }
}

/** LXD's text when the action makes no sense in this status, else null. Pure. */
export function refuse(action: StateAction, status: InstanceStatus): string | null {
  const up = status === 'Running' || status === 'Frozen';
  switch (action) {
    case 'start':
      return up ? 'The instance is already running' : null;
    case 'stop':
      return status === 'Stopped' ? 'The instance is already stopped' : null;
    case 'restart':
      return status === 'Stopped' ? 'The instance is already stopped' : null;
    case 'freeze':
      if (status === 'Frozen') return 'The container is already frozen';
      return up ? null : "The container isn't running";
    case 'unfreeze':
      if (status === 'Running') return 'The container is already running';
      return up ? null : "The container isn't running";
  }
}

/** Starts a stopped instance of this host with its newest spec. Leaves nothing mounted when the start fails. */
export async function bringUp(host: Host, signal: AbortSignal, spec: InstanceSpec): Promise<InstanceNic[]> {
  const { pool } = getRecord(host, spec);
  const storage = await host.pools.open(pool);
  let nics: InstanceNic[] = [];
  await runSteps({ log: host.log, signal }, [
    {
      name: 'configure',
      run: async () => {
        const setup = await configureInstance(host, spec, pool);
        nics = setup.nics;
        await applyRootSize(host, storage, spec);
        await applyTemplates(host, spec, setup.volumePath, ['start']);
      },
      undo: () => storage.unmountInstanceVolume(volumeName(spec)),
    },
    {
      name: 'start',
      run: async () => {
        await host.instances.start(refOf(spec));
        await host.networks.announce(volumeName(spec), true);
      },
      undo: () => killInstance(host, spec),
    },
  ]);
  recordPower(host, spec, 'RUNNING');
  return nics;
}

/** Stops and unmounts. `force` kills at once; without it the init gets its time, thawed so that it can hear. */
async function bringDown(host: Host, context: CommandContext, params: Params): Promise<void> {
  const { spec, force, timeoutSeconds } = params;
  const ref = refOf(spec);
  const status = await statusOf(host, spec);
  if (status !== 'Stopped') {
    if (status === 'Frozen') await host.instances.unfreeze(ref);
    const timeoutMs = timeoutSeconds < 0 ? null : timeoutSeconds * 1000 || DEFAULT_STOP_TIMEOUT_MS;
    const options = { force, timeoutMs: force ? null : timeoutMs, signal: context.signal };
    await context.unslotted(async () => {
      try {
        await host.instances.stop(ref, options);
      } catch (error) {
        if (!params.evacuation || context.signal.aborted) throw error;
        await host.instances.stop(ref, { force: true, timeoutMs: null });
      }
    });
  }
  recordPower(host, spec, 'STOPPED');
  const storage = await host.pools.open(getRecord(host, spec).pool);
  await storage.unmountInstanceVolume(volumeName(spec));
}
