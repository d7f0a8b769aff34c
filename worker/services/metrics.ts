/**
 * `GET /1.0/metrics`: instances of all hosts in one answer, under LXD's names, and the cluster's own figures. Nothing is asked
 * of a host: what is shown is what its agent sampled last, and only of instances that are that member's.
 */
import type { InstanceMetrics } from '#protocol/metrics.ts';
import {
  type ClusterFigures,
  controlMetrics,
  type MemberFigures,
  memberMetrics,
} from '#worker/domain/cluster-metrics.ts';
import { type CommandTimes, TIME_BUCKETS } from '#worker/domain/command-times.ts';
import { renderMetrics } from '#worker/domain/exposition.ts';
import { instanceMetrics, type SampledInstance } from '#worker/domain/instance-metrics.ts';
import { memberStatus } from '#worker/domain/member.ts';
import { STATUS_NAMES } from '#worker/domain/operation.ts';
import type { MemberMetrics } from '#worker/objects/contract.ts';
import { getMember } from '#worker/state/members.ts';
import { readControlFacts, readInstanceFacts } from '#worker/state/metrics.ts';
import type { Context } from './context.ts';

export interface MetricsRequest {
  /** Of these projects' instances; null: all. */
  projects: readonly string[] | null;
  /** Only this member's. */
  target: string | null;
  /** Whether the caller may know of the members. */
  showsMembers: boolean;
}

/** The text. Throws 404 for an unknown target, `unavailable` when the database or the links are away. */
export async function readMetrics(ctx: Context, { projects, target, showsMembers }: MetricsRequest): Promise<string> {
  if (target !== null) await getMember(ctx.db, target);
  // Of one member or some projects alone, the control plane's own would come once for each such scrape.
  const showsControl = showsMembers && target === null && projects === null;
  const [facts, told, presence, control] = await Promise.all([
    readInstanceFacts(ctx.db, projects),
    ctx.objects.links.metrics(target === null ? null : [target]),
    showsMembers ? ctx.objects.links.presence() : [],
    showsControl ? readControlFacts(ctx.db) : null,
  ]);
  const now = ctx.now();
  const members: MemberFigures[] = facts.members
    .filter(({ name }) => target === null || name === target)
    .map((row) => {
      const there = presence.find(({ member }) => member === row.name);
      const sample = told.samples.find(({ member }) => member === row.name);
      return {
        name: row.name,
        status: memberStatus(row, now).status,
        up: there?.online ?? false,
        load: there?.load ?? null,
        sample: sample === undefined ? null : { ...sample, ageSeconds: secondsSince(sample.toldMs, now) },
      };
    });
  return renderMetrics([
    ...instanceMetrics(joinSamples(facts.instances, told.samples)),
    ...(showsMembers ? memberMetrics(members) : []),
    ...(control === null ? [] : controlMetrics(toFigures(members, facts.instances, control, told.times, now))),
  ]);
}

type Facts = Awaited<ReturnType<typeof readInstanceFacts>>;

/** What a member tells of an instance counts only where it is that member's. */
function joinSamples(instances: Facts['instances'], samples: readonly MemberMetrics[]): SampledInstance[] {
  const told = new Map<string, InstanceMetrics>();
  const key = (member: string, project: string, name: string) => JSON.stringify([member, project, name]);
  for (const { member, instances: own } of samples) {
    for (const metrics of own) told.set(key(member, metrics.project, metrics.name), metrics);
  }
  return instances.flatMap(({ member, project, name, type }) => {
    const metrics = told.get(key(member, project, name));
    return metrics === undefined ? [] : [{ type, metrics }];
  });
}

function toFigures(
  members: MemberFigures[],
  instances: Facts['instances'],
  control: Awaited<ReturnType<typeof readControlFacts>>,
  times: readonly CommandTimes[],
  now: string,
): ClusterFigures {
  const age = (at: string | null) => (at === null ? 0 : secondsSince(Date.parse(at), now));
  const counted = new Map<string, { member: string; status: string; count: number }>();
  for (const { member, status } of instances) {
    const key = `${status} ${member}`;
    counted.set(key, { member, status, count: (counted.get(key)?.count ?? 0) + 1 });
  }
  return {
    members,
    instances: [...counted.values()],
    operations: control.operations.map(({ status, count }) => ({ status: statusName(status), count })),
    warnings: control.warnings,
    commands: control.commands,
    waiting: control.waiting.map(({ member, count, oldestAt }) => ({ member, count, oldestSeconds: age(oldestAt) })),
    webhooks: { waiting: control.webhooks.count, oldestSeconds: age(control.webhooks.oldestAt) },
    commandTimes: times.map(({ command, ok, buckets, count, sumSeconds }) => ({
      labels: { command, result: ok ? 'success' : 'failure' },
      bounds: TIME_BUCKETS,
      buckets,
      count,
      sum: sumSeconds,
    })),
  };
}

const statusName = (code: number): string =>
  Object.entries(STATUS_NAMES).find(([known]) => Number(known) === code)?.[1] ?? String(code);

const secondsSince = (timeMs: number, now: string): number => Math.max(0, (Date.parse(now) - timeMs) / 1000);
