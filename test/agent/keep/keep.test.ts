import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createKeptFiles } from '#agent/keep/files.ts';
import { readInventory } from '#agent/keep/inventory.ts';
import { createKeeper } from '#agent/keep/keeper.ts';
import { silentLog } from '#agent/log.ts';
import type { HostBackup, InstanceBackup } from '#protocol/backup.ts';
import type { Command } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import { createFakeState } from '../fakes/drivers.ts';
import { createFakeHost } from '../fakes/host.ts';

import { imageSource, instanceSpec, poolSpec } from '../fakes/specs.ts';

const EARLY = '2026-11-21T10:00:00.000Z';
const LATE = '2026-11-21T11:00:00.000Z';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'longshore-keep-'));
  mkdirSync(join(dir, 'containers/c1'), { recursive: true });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true });
});

const instance = (fields: Partial<InstanceBackup> = {}): InstanceBackup => {
  const { expandedConfig: _config, expandedDevices: _devices, ...own } = instanceSpec();
  return { ...own, stateful: false, pool: 'local', lastUsedAt: null, ...fields };
};
const backup = (takenAt: string, instances: InstanceBackup[]): HostBackup => ({
  takenAt,
  cluster: {
    config: { 'user.motto': 'kept' },
    member: {
      description: '',
      failureDomain: 'default',
      roles: [],
      groups: [],
      config: {},
      state: 'Created',
      createdAt: EARLY,
    },
    ...{ groups: [], projects: [], profiles: [], pools: [], networks: [], volumes: [], images: [], aliases: [] },
  },
  instances,
});

describe('the files', () => {
  it('are for root alone, beside each instance and once for the rest', () => {
    const files = createKeptFiles(dir);
    files.write(backup(EARLY, [instance()]));
    expect(files.findInstance(instance())).toEqual({ instance: instance(), takenAt: EARLY });
    expect(files.findCluster()).toMatchObject({ takenAt: EARLY, instances: ['instance-1'] });
    for (const file of ['cluster.yaml', 'containers/c1/backup.yaml'])
      expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600);
  });

  it('are written only for what has changed, and never for what is not on the host', () => {
    const files = createKeptFiles(dir);
    files.write(backup(EARLY, [instance()]));
    files.write(backup(LATE, [instance(), instance({ id: 'other', name: 'elsewhere' })]));
    expect(files.findInstance(instance())?.takenAt).toBe(EARLY);
    expect(files.findInstance({ project: 'default', name: 'elsewhere' })).toBeNull();
  });

  it('stay when the control plane knows of nothing any more', () => {
    const files = createKeptFiles(dir);
    files.write(backup(EARLY, [instance()]));
    files.write(backup(LATE, []));
    expect(files.findInstance(instance())?.instance.id).toBe('instance-1');
  });

  it('that cannot be read count as none', () => {
    const files = createKeptFiles(dir);
    files.write(backup(EARLY, [instance()]));
    writeFileSync(join(dir, 'cluster.yaml'), readFileSync(join(dir, 'cluster.yaml'), 'utf8').slice(0, 20));
    writeFileSync(join(dir, 'containers/c1/backup.yaml'), '{');
    expect([files.findCluster(), files.findInstance(instance())]).toEqual([null, null]);
  });
});

describe('the inventory', () => {
  const host = () => {
    const made = createFakeHost(createFakeState());
    made.journal.instances.put({
      spec: instanceSpec({ config: { 'user.last': 'told' } }),
      pool: 'local',
      power: 'RUNNING',
    });
    return made;
  };
  const read = (made: ReturnType<typeof host>, isOutdated = false) =>
    readInventory({ host: made, files: createKeptFiles(dir), isOutdated: () => isOutdated });
  const copy = instance({ config: { 'user.last': 'kept', 'volatile.eth0.hwaddr': '00:16:3e:00:00:09' } });

  it('gives the copy of each instance, as new as the control plane last confirmed it', async () => {
    const files = createKeptFiles(dir);
    files.write(backup(EARLY, [copy]));
    files.write(backup(LATE, [copy]));
    expect((await read(host())).instances).toMatchObject([{ takenAt: LATE, instance: copy }]);
    files.write(backup('2026-11-21T12:00:00.000Z', []));
    expect((await read(host())).instances).toMatchObject([{ takenAt: EARLY }]);
  });

  it('gives what the host was told, with the copy’s own keys, when a command ended after the copy', async () => {
    createKeptFiles(dir).write(backup(EARLY, [copy]));
    const [found] = (await read(host(), true)).instances;
    expect(found?.instance.config).toEqual({ 'user.last': 'told', 'volatile.eth0.hwaddr': '00:16:3e:00:00:09' });
  });

  it('gives what the host was told without a copy, and with one of an earlier instance of that name', async () => {
    createKeptFiles(dir).write(backup(EARLY, [instance({ id: 'earlier' })]));
    const told = await read(host());
    expect(told.instances).toMatchObject([
      { takenAt: '', instance: { id: 'instance-1', config: { 'user.last': 'told' } } },
    ]);
    expect(told).toMatchObject({ pools: [poolSpec()], networks: [{ name: 'lxdbr0' }] });
  });

  it('gives an instance that was renamed after the copy its present name', async () => {
    createKeptFiles(dir).write(backup(EARLY, [copy]));
    renameSync(join(dir, 'containers/c1'), join(dir, 'containers/c2'));
    const made = host();
    made.journal.instances.delete(instanceSpec());
    made.journal.instances.put({ spec: instanceSpec({ name: 'c2' }), pool: 'local', power: 'STOPPED' });
    const [found] = (await read(made)).instances;
    expect(found?.instance).toMatchObject({ name: 'c2', config: { 'volatile.eth0.hwaddr': '00:16:3e:00:00:09' } });
  });

  it('leaves out what is still being made', async () => {
    const made = host();
    const params = { spec: instanceSpec(), image: imageSource(), pool: poolSpec(), networks: [], start: true };
    made.journal.accept({ id: 'create', name: 'instance.create', params });
    expect((await read(made)).instances).toEqual([]);
  });
});

describe('the keeper', () => {
  const rename: Command = { id: 'r', name: 'instance.rename', params: { spec: instanceSpec(), newName: 'c2' } };
  const open = (fetch: () => Promise<HostBackup>) => {
    vi.useFakeTimers();
    return createKeeper({ fetch, files: createKeptFiles(dir), log: silentLog });
  };

  it('fetches once for many changes, after their results have been applied', async () => {
    const fetch = vi.fn(async () => backup(EARLY, []));
    const keeper = open(fetch);
    for (const id of ['a', 'b', 'c']) keeper.noteFinished({ ...rename, id });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetch).not.toHaveBeenCalled();
    expect(keeper.isOutdated('default/c1')).toBe(true);
    for (const id of ['a', 'b', 'c']) keeper.noteApplied(id);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(keeper.isOutdated('default/c1')).toBe(false);
    keeper.stop();
  });

  it('does not take a copy for new that was made before the last result was applied', async () => {
    const keeper = open(async () => backup(EARLY, []));
    keeper.noteFinished(rename);
    keeper.note();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(keeper.isOutdated('default/c1')).toBe(true);
    keeper.stop();
  });

  it('asks again after a refusal, and knows that its copy is old until then', async () => {
    let attempts = 0;
    const keeper = open(async () => {
      attempts += 1;
      if (attempts === 1) throw failed('not now');
      return backup(EARLY, []);
    });
    keeper.noteFinished(rename);
    keeper.noteApplied('r');
    await vi.advanceTimersByTimeAsync(3_000);
    expect([attempts, keeper.isOutdated('default/c1')]).toEqual([1, true]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([attempts, keeper.isOutdated('default/c1')]).toEqual([2, false]);
    keeper.stop();
  });
});
