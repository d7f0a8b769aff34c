/**
 * Placement under load, over four hosts: hundreds of launches at once, a host that somebody else keeps busy, a host that is
 * short of memory; and the explanation of each choice.
 */
import { availableParallelism } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newName, newNames, removeInstances, waitFor } from '../support.ts';

/** What a shell's `xargs -P` would do: more at once only queue on a machine of few cores. */
const AT_ONCE = 16;
const LAUNCHES = 300;
const HOG_LAUNCHES = 60;

interface Placement {
  member: string;
  location: string;
  strategy: string;
  target: string;
  scores: { member: string; score: number; parts: Record<string, number> }[];
  rejections: { member: string; reason: string }[];
}

let fourth = 0;
beforeAll(async () => {
  fourth = await cluster.addHost();
});
afterAll(() => cluster.removeHost(fourth));

const busyHost = () => `host${fourth}`;
const placementOf = async (name: string) => (await lxcJson('query', `/1.0/instances/${name}/placement`)) as Placement;

/** Runs `work` for each item, `AT_ONCE` at a time. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const run = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
}

/** Names and what each failed launch said. */
async function launchAll(stem: string, count: number): Promise<{ names: string[]; failures: string[] }> {
  const names = newNames(stem, count);
  const failures: string[] = [];
  await inParallel(names, async (name) => {
    const { code, stderr } = await lxc('launch', 'tiny', name);
    if (code !== 0) failures.push(`${name}: ${stderr}`);
  });
  return { names, failures };
}

async function removeAll(names: readonly string[]): Promise<void> {
  const batches = Array.from({ length: AT_ONCE }, (_, index) => names.filter((_name, at) => at % AT_ONCE === index));
  await inParallel(batches, removeInstances);
}

async function countPerMember(names: string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { location } of await instancesOf(names)) counts[location] = (counts[location] ?? 0) + 1;
  return counts;
}

/** Why a member would be passed over now: asked by making an instance that nobody starts. */
async function lookAt(member: string): Promise<{ cpu: number | null; reason: string | null }> {
  const name = newName('probe');
  expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
  try {
    const { scores, rejections } = await placementOf(name);
    return {
      cpu: scores.find((score) => score.member === member)?.parts.cpu ?? null,
      reason: rejections.find((rejection) => rejection.member === member)?.reason ?? null,
    };
  } finally {
    await removeInstances([name]);
  }
}

/** Hosts that were busy a minute ago get less: waits until none is told from the others by its load. */
async function untilQuiet(): Promise<void> {
  let last: Placement['scores'] = [];
  await waitFor(
    'hosts that are loaded alike',
    async () => {
      const name = newName('even');
      expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
      last = (await placementOf(name)).scores;
      await removeInstances([name]);
      const loads = last.map(({ parts }) => parts.cpu ?? 0);
      return loads.length === 4 && Math.max(...loads) - Math.min(...loads) <= 10 ? true : undefined;
    },
    120_000,
  ).catch((error) => {
    throw new Error(`${error}: ${JSON.stringify(last)}`);
  });
}

describe('placement', () => {
  it('takes 300 launches over four hosts: none fails, none is doubled, each host has an even share within 10 %', {
    timeout: 330_000,
  }, async () => {
    await untilQuiet();
    const { names, failures } = await launchAll('many', LAUNCHES);
    try {
      expect(failures).toEqual([]);
      const instances = await instancesOf(names);
      expect(instances.map(({ name }) => name)).toEqual([...names].sort((a, b) => a.localeCompare(b)));
      expect(new Set(instances.map(({ status }) => status))).toEqual(new Set(['Running']));
      const counts = await countPerMember(names);
      const even = LAUNCHES / 4;
      expect(Object.keys(counts).sort()).toEqual(['host1', 'host2', 'host3', busyHost()].sort());
      for (const count of Object.values(counts)) expect(Math.abs(count - even)).toBeLessThanOrEqual(even * 0.1);
      // What runs on the hosts is what the cluster says, once each.
      const running: string[] = [];
      for (const number of [1, 2, 3, fourth]) {
        const { stdout } = await cluster
          .host(number)
          .exec([...['lxc-ls', '-P', '/var/lib/longshore/containers', '--running', '-1']]);
        running.push(...stdout.split('\n').flatMap((line) => names.filter((name) => line.trim().endsWith(name))));
      }
      expect(running.sort()).toEqual([...names].sort());
    } finally {
      await removeAll(names);
    }
  });

  it('gives a host whose cores are kept busy less than half of its even share, and says why', {
    timeout: 300_000,
  }, async () => {
    const burn = ['timeout', '120', 'sh', '-c', 'while :; do :; done'];
    const hogs = Array.from({ length: availableParallelism() }, () =>
      cluster.host(fourth).exec(burn, { timeoutMs: 150_000 }),
    );
    let names: string[] = [];
    try {
      await waitFor('the cluster to see the load', async () =>
        ((await lookAt(busyHost())).cpu ?? 0) < 0 ? true : undefined,
      );
      const launched = await launchAll('hog', HOG_LAUNCHES);
      names = launched.names;
      expect(launched.failures).toEqual([]);
      const counts = await countPerMember(names);
      expect(counts[busyHost()] ?? 0).toBeLessThan(HOG_LAUNCHES / 4 / 2);
      const { scores, member } = await placementOf(names.at(-1) ?? '');
      expect(scores[0]?.member).toBe(member);
      expect(scores.find((score) => score.member === busyHost())?.parts.cpu).toBeLessThan(0);
    } finally {
      await cluster.host(fourth).exec(['pkill', '-f', 'while :; do :; done']);
      await Promise.all(hogs);
      await removeAll(names);
    }
  });

  it('gives a host that is short of memory nothing, and says why', async () => {
    // The host's own control group, of either version.
    const limit = (script: string) => cluster.host(fourth).exec(['sh', '-ec', script]);
    const set = `cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup
      if [ -e memory.limit_in_bytes ]; then used=$(cat memory.usage_in_bytes) file=memory.limit_in_bytes
      else used=$(cat memory.current) file=memory.max; fi
      cached=$(sed -nE 's/^(total_)?inactive_file //p' memory.stat | tail -n 1)`;
    expect(await limit(`${set}; echo $((used - cached + 100 * 1024 * 1024)) >$file`)).toMatchObject({ code: 0 });
    try {
      const reason = await waitFor('the cluster to see it', async () => (await lookAt(busyHost())).reason ?? undefined);
      expect(reason).toMatch(/^it has too little free memory \(/);
      const names = newNames('short', 4);
      for (const name of names) expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
      expect((await countPerMember(names))[busyHost()]).toBeUndefined();
      await removeInstances(names);
    } finally {
      await limit(`${set}; if [ $file = memory.max ]; then echo max >$file; else echo -1 >$file; fi`);
    }
    await waitFor('it to be taken again', async () => ((await lookAt(busyHost())).reason === null ? true : undefined));
  });
});

describe('the settings of placement', () => {
  const keys = ['strategy', 'memory_overcommit', 'reserve_memory', 'failure_domains'];
  afterEach(async () => {
    for (const key of keys) await lxc('config', 'unset', `placement.${key}`);
  });

  it('packs instances on one host when told so', async () => {
    expect(await lxc('config', 'set', 'placement.strategy', 'pack')).toMatchObject({ code: 0 });
    const names = newNames('pack', 3);
    for (const name of names) expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
    expect(Object.keys(await countPerMember(names))).toHaveLength(1);
    expect((await placementOf(names[2] ?? '')).strategy).toBe('pack');
    await removeInstances(names);
  });

  it('refuses a launch that no host can admit, with the reason of each', async () => {
    expect(await lxc('config', 'set', 'placement.reserve_memory', '100%')).toMatchObject({ code: 0 });
    const { code, stderr } = await lxc('launch', 'tiny', newName('none'));
    expect(code).toBe(1);
    expect(stderr).toContain('No suitable cluster member (');
    for (const member of ['host1', 'host2', 'host3', busyHost()]) {
      expect(stderr).toMatch(new RegExp(`${member}: its? .*memory`));
    }
  });

  it('prefers the failure domain that has fewer', async () => {
    const domains: Record<string, string> = { host1: 'east', host2: 'east', host3: 'west', [busyHost()]: 'west' };
    const setDomain = (member: string, domain: string) =>
      lxc('query', '-X', 'PATCH', '-d', JSON.stringify({ failure_domain: domain }), `/1.0/cluster/members/${member}`);
    for (const [member, domain] of Object.entries(domains)) {
      expect(await setDomain(member, domain)).toMatchObject({ code: 0 });
    }
    const names = newNames('domain', 2);
    try {
      // The fuller domain loses points; a load that is very different may still outweigh that.
      for (const name of names) {
        const all = (await lxcJson('query', '/1.0/instances?recursion=1')) as { location: string }[];
        const countOf = (domain: string) => all.filter(({ location }) => domains[location] === domain).length;
        const [east, west] = [countOf('east'), countOf('west')];
        expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
        const { scores } = await placementOf(name);
        expect(scores).toHaveLength(4);
        for (const { member, parts } of scores) {
          const isFuller = domains[member] === 'east' ? east > west : west > east;
          expect(parts.failure_domain).toBe(isFuller ? -20 : 0);
        }
      }
    } finally {
      await removeInstances(names);
      for (const member of Object.keys(domains)) await setDomain(member, 'default');
    }
  });

  it.each([
    ['placement.strategy', 'random', 'Invalid value "random" (not one of [spread pack])'],
    ['placement.memory_overcommit', '-1', 'invalid ratio'],
    ['placement.reserve_memory', 'some', 'Invalid size "some"'],
  ])('refuses %s=%s', async (key, value, why) => {
    const { code, stderr } = await lxc('config', 'set', `${key}=${value}`);
    expect(code).toBe(1);
    expect(stderr).toContain(`cannot set '${key}' to '${value}': ${why}`);
  });
});
