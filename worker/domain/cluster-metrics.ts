/** The cluster's own metrics: LXD's where they mean something here, the rest with the prefix `longshore_`. Pure. */
import type { HostLoad } from '#protocol/inventory.ts';
import type { Labels, Metric, Sample } from './exposition.ts';

/** How long commands of one kind took. `buckets` are counts up to each of `bounds`. */
export interface Histogram {
  labels: Labels;
  bounds: readonly number[];
  buckets: readonly number[];
  count: number;
  sum: number;
}

export interface ClusterFigures {
  members: readonly MemberFigures[];
  instances: readonly { member: string; status: string; count: number }[];
  /** Running operations of each status. */
  operations: readonly { status: string; count: number }[];
  warnings: readonly { severity: string; count: number }[];
  commands: readonly { status: string; count: number }[];
  /** Commands without a result. */
  waiting: readonly { member: string; count: number; oldestSeconds: number }[];
  webhooks: { waiting: number; oldestSeconds: number };
  commandTimes: readonly Histogram[];
}

export interface MemberFigures {
  name: string;
  status: string;
  /** Connected and given work. */
  up: boolean;
  load: HostLoad | null;
  /** Null: it has not sampled lately. */
  sample: { ageSeconds: number; uptimeSeconds: number } | null;
}

const MEMBER_STATUSES = ['Online', 'Offline', 'Evacuated', 'Blocked'];

/** What each member's host tells; also of one that is away, which says why its instances are missing. */
export function memberMetrics(members: readonly MemberFigures[]): Metric[] {
  const each = (read: (member: MemberFigures) => number | undefined): Sample[] =>
    members.flatMap((member) => {
      const value = read(member);
      return value === undefined ? [] : [{ labels: { member: member.name }, value }];
    });
  return [
    gauge('longshore_member_up', 'Whether the member is connected; the instances of one that is not are missing.', [
      ...each(({ up }) => (up ? 1 : 0)),
    ]),
    gauge('longshore_member_sample_age_seconds', 'Age of the figures of its instances.', [
      ...each(({ sample }) => sample?.ageSeconds),
    ]),
    gauge(
      'longshore_member_cpus',
      'CPUs of the host.',
      each(({ load }) => load?.cpuCount),
    ),
    gauge(
      'longshore_member_cpu_load',
      'Processes that want a CPU of the host.',
      each(({ load }) => load?.cpuLoad),
    ),
    gauge(
      'longshore_member_memory_bytes',
      'Memory of the host.',
      each(({ load }) => load?.memoryTotalBytes),
    ),
    gauge('longshore_member_memory_available_bytes', 'Memory of the host that can still be had.', [
      ...each(({ load }) => load?.memoryAvailableBytes),
    ]),
    gauge('lxd_uptime_seconds', "For how long the member's agent has been running.", [
      ...each(({ sample }) => sample?.uptimeSeconds),
    ]),
  ];
}

/** What the control plane knows of itself. */
export function controlMetrics(figures: ClusterFigures): Metric[] {
  const { members, instances, operations, warnings, commands, waiting, webhooks } = figures;
  return [
    gauge('lxd_operations_total', 'Operations that run.', [{ labels: {}, value: total(operations) }]),
    gauge('lxd_warnings_total', 'Warnings that are not resolved.', [{ labels: {}, value: total(warnings) }]),
    gauge(
      'longshore_members',
      'Members by status.',
      MEMBER_STATUSES.map((status) => ({
        labels: { status },
        value: members.filter((member) => member.status === status).length,
      })),
    ),
    gauge('longshore_instances', 'Instances by member and status, as last reported.', [
      ...instances.map(({ member, status, count }) => ({ labels: { member, status }, value: count })),
    ]),
    gauge('longshore_operations', 'Operations that run, by status.', byLabel('status', operations)),
    gauge('longshore_warnings', 'Warnings that are not resolved, by severity.', byLabel('severity', warnings)),
    gauge('longshore_commands', 'Commands that are remembered, by status.', byLabel('status', commands)),
    gauge('longshore_commands_waiting', "Commands without a member's result.", [
      ...waiting.map(({ member, count }) => ({ labels: { member }, value: count })),
    ]),
    gauge('longshore_commands_waiting_oldest_seconds', 'Age of the oldest command without a result.', [
      ...waiting.map(({ member, oldestSeconds }) => ({ labels: { member }, value: oldestSeconds })),
    ]),
    gauge('longshore_webhooks_waiting', 'Events on their way to webhooks.', [{ labels: {}, value: webhooks.waiting }]),
    gauge('longshore_webhooks_waiting_oldest_seconds', 'Age of the oldest event on its way to a webhook.', [
      { labels: {}, value: webhooks.oldestSeconds },
    ]),
    {
      name: 'longshore_command_duration_seconds',
      help: 'From the request of a command to its result.',
      type: 'histogram',
      samples: figures.commandTimes.flatMap(histogram),
    },
  ];
}

const gauge = (name: string, help: string, samples: readonly Sample[]): Metric => ({
  name,
  help,
  type: 'gauge',
  samples,
});

const total = (rows: readonly { count: number }[]): number => rows.reduce((sum, { count }) => sum + count, 0);

const byLabel = <L extends string>(
  label: L,
  rows: readonly (Readonly<Record<L, string>> & { count: number })[],
): Sample[] => rows.map((row) => ({ labels: { [label]: row[label] }, value: row.count }));

const histogram = ({ labels, bounds, buckets, count, sum }: Histogram): Sample[] => [
  ...bounds.map((bound, index) => ({
    suffix: '_bucket',
    labels: { ...labels, le: String(bound) },
    value: buckets[index] ?? 0,
  })),
  { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: count },
  { suffix: '_sum', labels, value: sum },
  { suffix: '_count', labels, value: count },
];
