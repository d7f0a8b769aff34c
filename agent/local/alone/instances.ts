/** This host's instances as the API shows them: what the host keeps beside them, and what runs. */
import { matchesFilter, parseFilter } from '#protocol/api/filter.ts';
import { renderState, STATUS_CODES } from '#protocol/api/instance-state.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import type { InstanceReport } from '#protocol/inventory.ts';
import type { Host } from '../../commands/host.ts';
import { getRecord, outcomeOf, refOf } from '../../commands/instances.ts';
import type { InstanceRecord } from '../../journal/journal.ts';

/** LXD's "never used": the host does not keep when it was. */
const NEVER = '1970-01-01T00:00:00Z';

/** `recursion` as clients ask: 0 URLs, 1 instances, 2 with state. Null: of every project. Throws for a filter that is none. */
export async function listInstances(
  deps: { host: Host; member: string },
  { project, recursion, filter }: { project: string | null; recursion: number; filter: string },
): Promise<unknown[]> {
  const clauses = parseFilter(filter);
  const records = deps.host.journal.instances.list().filter(({ spec }) => project === null || spec.project === project);
  const wanted = await Promise.all(
    records.map(async (record) => {
      if (recursion === 0 && clauses.length === 0) return instanceUrl(record.spec);
      if (!matchesFilter(clauses, clauses.length === 0 ? {} : await renderInstance(deps, record, true))) return null;
      return recursion === 0 ? instanceUrl(record.spec) : renderInstance(deps, record, recursion > 1);
    }),
  );
  return wanted.filter((one) => one !== null);
}

/** Throws `not_found`. */
export const findInstance = (deps: { host: Host; member: string }, ref: InstanceRef, full: boolean) =>
  renderInstance(deps, getRecord(deps.host, ref), full);

/** Throws `not_found`. */
export async function findState(host: Host, ref: InstanceRef) {
  const { report } = await look(host, getRecord(host, ref));
  return renderState(report.status, report.state);
}

export const instanceUrl = ({ project, name }: InstanceRef) =>
  `/1.0/instances/${name}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

async function renderInstance(deps: { host: Host; member: string }, record: InstanceRecord, full: boolean) {
  const { spec } = record;
  const { report, volatile } = await look(deps.host, record);
  const kept = Object.fromEntries(Object.entries(volatile).filter(([, value]) => value !== ''));
  const instance = {
    architecture: spec.architecture,
    config: { ...spec.config, ...kept },
    devices: spec.devices,
    ephemeral: spec.ephemeral,
    profiles: spec.profiles,
    stateful: false,
    description: spec.description,
    created_at: spec.createdAt,
    expanded_config: { ...spec.expandedConfig, ...kept },
    expanded_devices: spec.expandedDevices,
    name: spec.name,
    status: report.status,
    status_code: STATUS_CODES[report.status],
    last_used_at: NEVER,
    location: deps.member,
    type: spec.type,
    project: spec.project,
  };
  if (!full) return instance;
  return { ...instance, backups: null, state: renderState(report.status, report.state), snapshots: null };
}

/** One that cannot be looked at is shown as broken, so that the others are shown all the same. */
async function look(
  host: Host,
  { spec }: InstanceRecord,
): Promise<{ report: InstanceReport; volatile: Record<string, string> }> {
  try {
    return await outcomeOf(host, spec);
  } catch (err) {
    host.log.warn('local.alone.instance', { instance: spec.name, err });
    return { report: { ...refOf(spec), status: 'Error', state: null }, volatile: {} };
  }
}
