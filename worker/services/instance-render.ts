/**
 * Instances as the API shows them (lxd-api 10.1, 10.2). Pure, and quick: a list of hundreds is rendered per `lxc list`, so
 * profiles are expanded once per set and nothing is validated on the way out.
 */
import { type ApiInstanceState, type ApiStatus, renderState, STATUS_CODES } from '#protocol/api/instance-state.ts';
import { type Config, type Devices, expandConfig, expandDevices } from '#worker/domain/config.ts';
import type { InstanceRow, ProfileLayer } from '#worker/state/instance-queries.ts';

/** LXD's "never used". */
const NEVER = '1970-01-01T00:00:00Z';

export interface ApiInstance {
  name: string;
  type: string;
  architecture: string;
  description: string;
  ephemeral: boolean;
  stateful: boolean;
  profiles: string[];
  config: Config;
  devices: Devices;
  expanded_config: Config;
  expanded_devices: Devices;
  status: ApiStatus;
  status_code: number;
  created_at: string;
  last_used_at: string;
  location: string;
  project: string;
}

export type ApiInstanceFull = ApiInstance & { backups: null; snapshots: null; state: ApiInstanceState };

/** What is shown while the member is away: `Error`, as in LXD, whatever was reported last. */
export const shownStatus = (row: Pick<InstanceRow, 'status'>, online: boolean): ApiStatus =>
  online ? row.status : 'Error';

/** The profiles of one instance, merged; the same object for all instances with the same profiles. */
export interface ProfileBase {
  config: Config;
  devices: Devices;
}

export const mergeProfiles = (layers: readonly ProfileLayer[]): ProfileBase => ({
  config: expandConfig(layers, {}),
  devices: expandDevices(layers, {}),
});

/** The whole instance without its runtime state. */
export function renderInstance(row: InstanceRow, base: ProfileBase, online: boolean): ApiInstance {
  const status = shownStatus(row, online);
  return {
    architecture: row.architecture,
    config: row.config,
    devices: row.devices,
    ephemeral: row.ephemeral,
    profiles: row.profiles,
    stateful: row.stateful,
    description: row.description,
    created_at: row.createdAt,
    expanded_config: expandConfig([base], row.config),
    expanded_devices: expandDevices([base], row.devices),
    name: row.name,
    status,
    status_code: STATUS_CODES[status],
    last_used_at: row.lastUsedAt ?? NEVER,
    location: row.member,
    type: row.type,
    project: row.project,
  };
}

/** With state, snapshots and backups. While the member is away the figures are the last ones it reported. */
export function renderInstanceFull(row: InstanceRow, base: ProfileBase, online: boolean): ApiInstanceFull {
  const instance = renderInstance(row, base, online);
  return { ...instance, backups: null, state: renderState(instance.status, row.state), snapshots: null };
}
