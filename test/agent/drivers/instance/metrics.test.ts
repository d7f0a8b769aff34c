import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InstanceSetup } from '#agent/drivers/instance/driver.ts';
import { type RunningInstance, sweepMetrics } from '#agent/drivers/instance/metrics.ts';
import { sampleFrames } from '#agent/inventory/metrics.ts';
import { silentLog } from '#agent/log.ts';
import type { Cgroup } from '#agent/system/cgroup.ts';
import { AgentFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { instanceSpec } from '../../fakes/specs.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-metrics-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** As captured on Debian 12, shortened. */
const V1: Record<string, string> = {
  'cpuacct/cpuacct.usage_all': 'cpu user system\n0 8844003411060 4243129486322\n1 9074523528938 4378659372849\n',
  'cpuset/cpuset.effective_cpus': '0-1\n',
  'memory/memory.stat': [
    ...['cache 1', 'rss 2', 'hierarchical_memory_limit 268435456', 'total_cache 75640832', 'total_rss 14356480'],
    ...['total_shmem 9068544', 'total_mapped_file 7561216', 'total_dirty 344064', 'total_writeback 4096'],
    ...['total_swap 8192', 'total_inactive_anon 100', 'total_active_anon 200', 'total_inactive_file 300'],
    ...['total_active_file 400', 'total_unevictable 500', ''],
  ].join('\n'),
  'memory/memory.usage_in_bytes': '90000000\n',
  'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
  'blkio/blkio.throttle.io_service_bytes_recursive': '254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 1\nTotal 12288\n',
  'blkio/blkio.throttle.io_serviced_recursive': '254:0 Read 1\n254:0 Write 2\nTotal 3\n',
  'pids/pids.current': '7\n',
};
const V2: Record<string, string> = {
  'cpu.stat': 'usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n',
  'cpuset.cpus.effective': '0,2-3\n',
  'memory.stat': [
    ...['anon 14356480', 'file 75640832', 'shmem 9068544', 'file_mapped 7561216', 'file_dirty 344064'],
    ...['file_writeback 4096', 'inactive_anon 100', 'active_anon 200', 'inactive_file 300', 'active_file 400'],
    ...['unevictable 500', ''],
  ].join('\n'),
  'memory.current': '90000000\n',
  'memory.max': '268435456\n',
  'memory.swap.current': '8192\n',
  'memory.events': 'low 0\nhigh 0\nmax 0\noom 3\noom_kill 3\n',
  'io.stat': '254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n',
  'pids.current': '7\n',
};

const MEMORY = {
  ...{ activeAnon: 200, activeFile: 400, cached: 75640832, dirty: 344064, inactiveAnon: 100, inactiveFile: 300 },
  ...{ mapped: 7561216, oomKills: 3, rss: 14356480, shmem: 9068544, swap: 8192, total: 268435456, unevictable: 500 },
  ...{ usage: 90000000, writeback: 4096 },
};

function write(files: Record<string, string>): void {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, file)), { recursive: true });
    writeFileSync(join(directory, file), text);
  }
}

const v1 = (): Cgroup => ({
  find: (controller) => {
    const known = ['cpuacct', 'cpuset', 'memory', 'blkio', 'pids'].includes(controller);
    return known ? { directory: join(directory, controller), version: 1 } : null;
  },
  directories: [],
});
const v2 = (): Cgroup => ({
  find: (controller) =>
    ['cpuset', 'memory', 'io', 'pids'].includes(controller) ? { directory, version: 2 as const } : null,
  directories: [directory],
});

function running(name: string, cgroup: Cgroup): RunningInstance {
  const spec = instanceSpec({ name });
  const setup: InstanceSetup = { spec, volumePath: directory, idmap: true, nics: [] };
  return { setup, init: process.pid, cgroup };
}

const deps = { log: silentLog, memoryTotalBytes: 2 ** 34, deviceName: (number: string) => `disk ${number}` };

describe('a sweep', () => {
  it.each([
    ['v1', V1, v1, [[0, 8844.00341106, 4243.129486322] as const, [1, 9074.523528938, 4378.659372849] as const], 2],
    ['v2', V2, v2, [[0, 2, 1] as const], 3],
  ])('reads control groups of %s', async (_version, files, cgroup, cpu, cpus) => {
    write(files);
    const [found] = await sweepMetrics(deps, ['c1'], (name) => running(name, cgroup()));
    expect(found).toMatchObject({ project: 'default', name: 'c1', cpu, cpus, memory: MEMORY, processes: 7 });
    expect(found?.disks).toEqual([['disk 254:0', 4096, 1, 8192, 2]]);
    expect(found?.networks.map(([name]) => name)).toContain('lo');
    expect(found?.filesystems).toEqual([
      [expect.any(String), expect.any(String), '/', expect.any(Number), expect.any(Number), expect.any(Number)],
    ]);
  });

  it('takes the memory of the host for that of an instance without a limit', async () => {
    write({ ...V2, 'memory.max': 'max\n' });
    const [found] = await sweepMetrics(deps, ['c1'], (name) => running(name, v2()));
    expect(found?.memory.total).toBe(2 ** 34);
  });

  it('leaves out what does not run, and what stops under its eyes', async () => {
    write(V2);
    const found = await sweepMetrics(deps, ['gone', 'stops', 'c1'], (name) => {
      if (name === 'stops') throw new Error('ESRCH');
      return name === 'gone' ? null : running(name, v2());
    });
    expect(found.map(({ name }) => name)).toEqual(['c1']);
  });

  it('of 200 instances takes a few seconds at most, lets the event loop go on and fits into frames', async () => {
    write(V1);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    const startMs = performance.now();
    const names = Array.from({ length: 200 }, (_, index) => `instance-${index}`);
    const found = await sweepMetrics(deps, names, (name) => running(name, v1()));
    clearInterval(ticking);
    expect(performance.now() - startMs).toBeLessThan(5_000);
    expect(found).toHaveLength(200);
    expect(turns).toBeGreaterThan(5);
    const frames = sampleFrames(found, 60);
    const texts = frames.map((frame) => JSON.stringify(frame));
    for (const text of texts) expect(text.length).toBeLessThan(FRAME_LIMIT_BYTES);
    expect(texts.join('').length).toBeLessThan(250_000);
    for (const frame of frames) expect(AgentFrame.parse(frame)).toEqual(frame);
  });
});

describe('sample frames', () => {
  it('are as many as it takes, of which only the first begins and only the last ends', async () => {
    write(V2);
    const names = ['a', 'b', 'c', 'd'];
    const found = await sweepMetrics(deps, names, (name) => running(name, v2()));
    const frames = sampleFrames(found, 1, 1_000);
    const shape = frames.map((frame) => (frame.type === 'metrics' ? [frame.first, frame.last] : []));
    expect(shape.length).toBeGreaterThan(1);
    expect(shape[0]).toEqual([true, false]);
    expect(shape.at(-1)).toEqual([false, true]);
    const told = frames.flatMap((frame) => (frame.type === 'metrics' ? frame.instances : []));
    expect(told).toEqual(found);
  });

  it('are one, when nothing runs: that is news, too', () => {
    expect(sampleFrames([], 1)).toEqual([
      { type: 'metrics', first: true, last: true, uptimeSeconds: 1, instances: [] },
    ]);
  });
});
