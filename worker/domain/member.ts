/** Cluster members: roles, configuration keys, status (lxd-api 9, 10.11). Pure. */
import { PROTOCOL_MINIMUM, PROTOCOL_VERSION, UPGRADE_PROTOCOL } from '#protocol/version.ts';
import type { Config } from './config.ts';

/** Given by the server, not by users. */
const AUTOMATIC_ROLES = ['database', 'database-leader', 'database-standby'];
const SETTABLE_ROLES = ['event-hub', 'ovn-chassis'];

/** LXD's refusal of the first bad key or value, or null. Empty values must be gone already. */
export function checkMemberConfig(config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('user.')) continue;
    if (key !== 'scheduler.instance') return `Invalid cluster configuration key "${key}"`;
    if (!['all', 'group', 'manual'].includes(value)) {
      return `Invalid cluster configuration key "${key}" value: Invalid value "${value}" (not one of [all group manual])`;
    }
  }
  return null;
}

/** LXD's refusal of a change of roles, or null: automatic ones may be repeated but neither added nor dropped. */
export function checkRoles(before: readonly string[], after: readonly string[]): string | null {
  for (const role of after) {
    if (!AUTOMATIC_ROLES.includes(role) && !SETTABLE_ROLES.includes(role)) return `Invalid cluster role "${role}"`;
    if (AUTOMATIC_ROLES.includes(role) && !before.includes(role)) {
      return `The "${role}" role cannot be added at this time`;
    }
  }
  for (const role of before) {
    if (AUTOMATIC_ROLES.includes(role) && !after.includes(role)) {
      return `The "${role}" role cannot be dropped at this time`;
    }
  }
  return null;
}

export function checkGroupName(name: string): string | null {
  if (name === '') return 'No name provided';
  if (name.includes('/')) return 'Cluster group names may not contain slashes';
  if (name.includes(' ')) return 'Cluster group names may not contain spaces';
  if (name.includes('_')) return 'Cluster group names may not contain underscores';
  if (/['"]/.test(name)) return 'Cluster group names may not contain quotes';
  if (name === '*' || name === '.' || name === '..' || name.length > 63) return `Invalid cluster group name "${name}"`;
  return null;
}

/** What the agent of a removed member is told, and shows to its host's users. */
export const removedText = (name: string, at: string): string =>
  `"${name}" was removed from this cluster (${at.slice(0, 16).replace('T', ' ')} UTC): join it again with a new token`;

const at = (place: string): string => (place === '' ? '' : ` at ${place}`);

/** Where a host is, for people: its own addresses, and the one it is seen from when that is another. */
export function placeOf(addresses: readonly string[], seenFrom: string): string {
  const own = addresses.slice(0, 3).join(', ');
  if (seenFrom === '' || addresses.includes(seenFrom)) return own;
  return own === '' ? seenFrom : `${own} (seen from ${seenFrom})`;
}

/** What a host is told that comes as a member which another host is. */
export const inUseText = (member: string, place: string): string =>
  `The identity of cluster member "${member}" is in use by another host${at(place)}`;

/** What is told of two hosts that both live and are the same member. `holder`: where the member is, if it is there now. */
export function twinText(member: string, holder: string, keptOut: string): string {
  const first = holder === '' ? '' : `the one at ${holder} is the member, `;
  const advice = 'Stop the wrong one; the other is let in after a reboot, once the first is off';
  return `Two hosts have the identity of cluster member "${member}" (cloned disk?): ${first}the one${at(keptOut)} is kept out. ${advice}`;
}

/** `statusReason` of a member whose agent is connected but too old to be given work: for the cluster it counts as offline. */
export const BLOCKED_REASON = 'blocked: the agent is too old';

export const isBlocked = (row: Pick<MemberStanding, 'online' | 'statusReason'>): boolean =>
  !row.online && row.statusReason === BLOCKED_REASON;

/** How to get a newer agent. */
export const upgradeAdvice = (member: string, protocol: number): string =>
  protocol >= UPGRADE_PROTOCOL
    ? `upgrade it with "longshore agent upgrade ${member}"`
    : `install the cluster's release on "${member}" and start its agent again`;

export interface MemberStanding {
  name: string;
  /** What its agent said at its last hello. */
  protocol: number;
  agentVersion: string;
  state: 'Created' | 'Evacuated';
  online: boolean;
  statusReason: string;
  statusChangedAt: string;
  /** Never connected: no agent has spoken for it yet. */
  epoch: number;
}

/** The status column and the sentence beside it, in LXD's words. */
export function memberStatus(member: MemberStanding, now: string): { status: string; message: string } {
  const agent = `agent ${member.agentVersion} (protocol ${member.protocol})`;
  if (isBlocked(member)) {
    const advice = upgradeAdvice(member.name, member.protocol);
    return { status: 'Blocked', message: `The ${agent} is too old, protocol ${PROTOCOL_MINIMUM} is needed: ${advice}` };
  }
  if (!member.online) {
    const seconds = Math.max(0, (Date.parse(now) - Date.parse(member.statusChangedAt)) / 1000);
    const since = member.statusChangedAt.replace('T', ' ').replace(/\.\d+Z$|Z$/, '');
    const silence = `No heartbeat for ${seconds.toFixed(1)}s (${since} +0000 UTC)`;
    // Silence says it all; anything else is worth a word.
    const why = member.statusReason.replace(/^No heartbeat.*/, '');
    return { status: 'Offline', message: why === '' ? silence : `${silence}: ${why}` };
  }
  if (member.state === 'Evacuated') return { status: 'Evacuated', message: 'Unavailable due to maintenance' };
  const isCurrent = member.protocol >= PROTOCOL_VERSION || member.agentVersion === '';
  if (isCurrent) return { status: 'Online', message: 'Fully operational' };
  const advice = upgradeAdvice(member.name, member.protocol);
  return { status: 'Online', message: `Fully operational, but its ${agent} should be upgraded: ${advice}` };
}
