/**
 * Tells the control plane what runs here: everything after each welcome, changes after that.
 *
 * Invariants. While a command works on an instance nothing but its result speaks of it, so no half-way state is told. What a
 * result said counts as told.
 */
import { z } from 'zod';
import type { InstanceRef } from '#protocol/commands.ts';
import { AppError } from '#protocol/errors.ts';
import { type AgentFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { type HostLoad, InstanceReport } from '#protocol/inventory.ts';
import type { Host } from '../commands/host.ts';
import { recordPower, refOf, statusOf, volumeName } from '../commands/instances.ts';
import type { InstanceTransition } from '../drivers/instance/driver.ts';
import { instanceKey } from '../journal/journal.ts';
import { hasNews, hasUsageNews } from './changes.ts';
import { hasChanged } from './load.ts';
import { createVolumeWatch } from './volume-watch.ts';

/** Several changes of one instance in a row are told once. */
const COALESCE_MS = 50;
/** A container that has just started gets more addresses (IPv6) for some time. */
const SETTLE_MS = [1_000, 3_000, 10_000];
const REFRESH_MS = 30_000;
const LOAD_MS = 10_000;
/** What nothing tells of (a frozen instance, a volume that has gone) is found within two seconds... */
const LOOK_MS = 1_000;
/** ...as long as looking takes no more than this part of the time. */
const LOOK_SHARE = 0.05;
/** Reports that are read at the same time. */
const PARALLEL = 16;

export interface ReporterDeps {
  host: Host;
  send(frame: AgentFrame): boolean;
  isBusy(ref: InstanceRef): boolean;
  readLoad(): Promise<HostLoad>;
  /** A start or stop that no command asked for. */
  onUnasked?(transition: InstanceTransition): void;
}

export interface Reporter {
  /** Begins to watch the host. */
  start(): void;
  /** Everything, after a welcome. */
  reportAll(): Promise<void>;
  /** A command's result told this; anything without a report in it is ignored. */
  noteResult(result: unknown): void;
  /** Look at this instance again soon: a command on it has failed, or something happened to it. */
  touch(ref: InstanceRef): void;
  stop(): void;
}

export function createReporter({ host, send, isBusy, readLoad, onUnasked }: ReporterDeps): Reporter {
  const told = new Map<string, InstanceReport>();
  const touched = new Map<string, InstanceRef>();
  const timers = new Set<NodeJS.Timeout>();
  let flushing = false;
  let toldLoad: HostLoad | null = null;
  let unwatch = () => {};
  let stopped = false;
  const volumes = createVolumeWatch({ host, isBusy });

  const later = (ms: number, work: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!stopped) work();
    }, ms);
    timers.add(timer);
    return timer;
  };

  /** Reports with what is wrong on this host. */
  const look = async (refs: readonly InstanceRef[]): Promise<InstanceReport[]> =>
    (await readReports(host, refs)).map((report) => {
      const problem = report.status === 'Stopped' && !isBusy(report) ? volumes.problemOf(report) : null;
      return problem === null ? report : { ...report, status: 'Error', state: null, problem };
    });

  const tell = (reports: readonly InstanceReport[]) => {
    if (reports.length === 0 || !send({ type: 'inventory', full: false, instances: [...reports] })) return;
    for (const report of reports) told.set(instanceKey(report), report);
  };

  const flush = async () => {
    const refs = [...touched.values()].filter((ref) => !isBusy(ref));
    touched.clear();
    const reports = await look(refs);
    const present = new Set(reports.map(instanceKey));
    for (const ref of refs) if (!present.has(instanceKey(ref))) told.delete(instanceKey(ref));
    tell(reports.filter((report) => !isBusy(report) && hasNews(told.get(instanceKey(report)), report)));
  };

  const touch = (ref: InstanceRef) => {
    touched.set(instanceKey(ref), refOf(ref));
    if (flushing) return;
    flushing = true;
    later(COALESCE_MS, () => {
      flushing = false;
      void flush().catch((err) => host.log.warn('inventory.flush.failed', { err }));
    });
  };

  const onTransition = (transition: InstanceTransition) => {
    if (stopped) return;
    const { ref, kind } = transition;
    host.log.info('instance.transition', { instance: instanceKey(ref), kind });
    // What was asked for is recorded and told by its command.
    if (!isBusy(ref)) {
      recordPower(host, ref, kind === 'stopped' ? 'STOPPED' : 'RUNNING');
      onUnasked?.(transition);
    }
    void announce(host, ref, kind !== 'stopped').catch((err) => host.log.warn('instance.announce.failed', { err }));
    touch(ref);
    if (kind !== 'stopped') for (const ms of SETTLE_MS) later(ms, () => touch(ref));
  };

  const refresh = async () => {
    const reports = await look(refsOf(host, await host.instances.list()));
    tell(
      reports.filter((report) => {
        const before = told.get(instanceKey(report));
        return !isBusy(report) && (before === undefined || hasNews(before, report) || hasUsageNews(before, report));
      }),
    );
  };

  /** Looks for what no event tells, at what was told. */
  const lookAround = async () => {
    const seen: [InstanceReport, InstanceReport['status']][] = [];
    for (const report of told.values()) seen.push([report, await findStatus(host, report)]);
    const stopped = seen.filter(([report, status]) => status === 'Stopped' && !isBusy(report));
    for (const ref of await volumes.look(stopped.map(([report]) => report))) touch(ref);
    for (const [report, status] of seen) {
      if (report.status === 'Error' || status === report.status || isBusy(report)) continue;
      if (volumes.problemOf(report) === null) touch(report);
    }
  };

  const keepLooking = (ms: number) => {
    later(ms, () => {
      const startMs = performance.now();
      void lookAround()
        .catch((err) => host.log.warn('inventory.look.failed', { err }))
        .finally(() => keepLooking(Math.max(LOOK_MS, (performance.now() - startMs) / LOOK_SHARE)));
    });
  };

  const tellLoad = async () => {
    const load = await readLoad();
    if ((toldLoad === null || hasChanged(toldLoad, load)) && send({ type: 'load', load })) toldLoad = load;
  };

  const repeat = (ms: number, event: string, work: () => Promise<void>) =>
    later(ms, () => {
      void work()
        .catch((err) => host.log.warn(event, { err }))
        .finally(() => repeat(ms, event, work));
    });

  return {
    start: () => {
      unwatch = host.instances.watch(onTransition);
      repeat(REFRESH_MS, 'inventory.refresh.failed', refresh);
      repeat(LOAD_MS, 'inventory.load.failed', tellLoad);
      keepLooking(LOOK_MS);
    },
    reportAll: async () => {
      const refs = refsOf(host, await host.instances.list());
      const stopped: InstanceRef[] = [];
      for (const ref of refs) if ((await findStatus(host, ref)) === 'Stopped' && !isBusy(ref)) stopped.push(ref);
      await volumes.look(stopped);
      const reports = await look(refs);
      told.clear();
      for (const frame of fullFrames(reports)) if (!send(frame)) return;
      for (const report of reports) told.set(instanceKey(report), report);
    },
    noteResult: (result) => {
      const parsed = z.object({ report: InstanceReport }).safeParse(result);
      if (parsed.success) told.set(instanceKey(parsed.data.report), parsed.data.report);
    },
    touch,
    stop: () => {
      stopped = true;
      unwatch();
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

/** DNS knows instances that are up. One that stops may be up again before its stop is heard of. */
async function announce(host: Host, ref: InstanceRef, started: boolean): Promise<void> {
  const up = started || (await statusOf(host, ref)) !== 'Stopped';
  await host.networks.announce(volumeName(ref), up);
}

/** As a report would say; of one that has gone or cannot be read, nothing. */
const findStatus = (host: Host, ref: InstanceRef) =>
  statusOf(host, ref).catch((err) => {
    host.log.debug('inventory.status.failed', { instance: instanceKey(ref), err });
    return 'Error' as const;
  });

/** What should be here and what is. */
function refsOf(host: Host, present: readonly InstanceRef[]): InstanceRef[] {
  const recorded = host.journal.instances.list().map((record) => refOf(record.spec));
  return [...new Map([...recorded, ...present].map((ref) => [instanceKey(ref), ref])).values()];
}

async function readReports(host: Host, refs: readonly InstanceRef[]): Promise<InstanceReport[]> {
  const reports: InstanceReport[] = [];
  for (let at = 0; at < refs.length; at += PARALLEL) {
    const batch = refs.slice(at, at + PARALLEL).map((ref) => readReport(host, ref));
    reports.push(...(await Promise.all(batch)).filter((report) => report !== null));
  }
  return reports;
}

/** One that cannot be read is `Error`; one that is neither recorded nor there is nothing to report. */
async function readReport(host: Host, ref: InstanceRef): Promise<InstanceReport | null> {
  try {
    return await host.instances.report(ref);
  } catch (err) {
    const gone = err instanceof AppError && err.code === 'not_found';
    if (gone && host.journal.instances.find(ref) === undefined) return null;
    // A half-made instance (no config yet) is stopped; its command will tell the rest.
    if (gone) return { ...refOf(ref), status: 'Stopped', state: null };
    host.log.warn('inventory.report.failed', { instance: instanceKey(ref), err });
    return { ...refOf(ref), status: 'Error', state: null };
  }
}

/** One frame when it fits; else the full list without figures, and the figures in further frames. */
export function fullFrames(reports: readonly InstanceReport[], limit: number = FRAME_LIMIT_BYTES / 2): AgentFrame[] {
  const full: AgentFrame = { type: 'inventory', full: true, instances: [...reports] };
  if (JSON.stringify(full).length <= limit) return [full];
  const bare = reports.map((report) => ({ ...report, state: null }));
  const frames: AgentFrame[] = [{ type: 'inventory', full: true, instances: bare }];
  const perFrame = Math.max(1, Math.floor(limit / (JSON.stringify(full).length / reports.length)));
  for (let at = 0; at < reports.length; at += perFrame) {
    frames.push({ type: 'inventory', full: false, instances: reports.slice(at, at + perFrame) });
  }
  return frames;
}
