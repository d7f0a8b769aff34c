/** What is left when all faults are over: compares what was promised with what is there, on hosts and in the API. */
import { getHost } from '#selfhost/playground/cluster.ts';
import { execInHost } from '#selfhost/playground/host.ts';
import { waitFor } from '#selfhost/wait.ts';
import { STEM, type Workload } from './workload.ts';
import type { World } from './world.ts';

export interface Verdict {
  started: number;
  ended: number;
  lost: string[];
  doubled: string[];
  /** Promised and not there, or there and not promised. */
  wrong: string[];
  /** Mentions on hosts after everything was deleted: `host1: datasets: …`. */
  leaked: string[];
}

const SEARCH = `
zfs list -H -o name -t all | grep -F "$NAME-" | sed "s/^/dataset /"
grep -F "$NAME-" /proc/self/mounts | cut -d" " -f2 | sed "s/^/mount /"
find /sys/fs/cgroup -type d -name "*$NAME-*" | sed "s/^/cgroup /"
all=$(ps -e -o args=); printf "%s\\n" "$all" | grep -F "$NAME-" | sed "s/^/process /"
find /var/lib/longshore /run/longshore /var/log/longshore -name "*$NAME-*" -not -path '*/rootfs/*' | sed "s/^/file /"
grep -rF "$NAME-" /var/lib/longshore/networks | sed "s/^/lease /"
ip -o link show type veth | grep -v " eth0@" | sed "s/^/veth /"
true`;

const SETTLE_MS = 90_000;

interface ApiInstance {
  name: string;
  status: string;
  location: string;
}

export async function listInstances({ api }: World): Promise<ApiInstance[]> {
  const { status, body } = await api('GET', '/1.0/instances?recursion=1');
  if (status !== 200 || !Array.isArray(body.metadata)) throw new Error(`Listing instances answered ${status}`);
  return (body.metadata as ApiInstance[]).filter(({ name }) => name.startsWith(`${STEM}-`));
}

/** Container directories on the host: what it has, whatever anybody thinks. */
export async function namesOn({ playground }: World, host: number): Promise<string[]> {
  const { stdout } = await execInHost(getHost(playground, host), ['ls', '/var/lib/longshore/containers']);
  return stdout.split('\n').filter((name) => name.startsWith(`${STEM}-`));
}

async function traces({ playground }: World, host: number): Promise<string[]> {
  const { stdout } = await execInHost(getHost(playground, host), ['sh', '-c', SEARCH], { env: { NAME: STEM } });
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => `host${host}: ${line}`);
}

/** Deletes what is there through the API; throws what is still there in the end. */
async function removeAll(world: World): Promise<void> {
  await waitFor(
    'everything to be deleted',
    async () => {
      const instances = await listInstances(world).catch(() => null);
      if (instances?.length === 0) return true;
      for (const { name } of instances ?? []) {
        const url = `/1.0/instances/${name}`;
        for (const ask of [
          () => world.api('PUT', `${url}/state`, { action: 'stop', force: true, timeout: -1 }),
          () => world.api('DELETE', url),
        ]) {
          const answer = await ask().catch(() => null);
          if (answer?.body.operation)
            await world.api('GET', `${answer.body.operation}/wait?timeout=15`).catch(() => null);
        }
      }
      return false;
    },
    { timeoutMs: SETTLE_MS, everyMs: 500 },
  );
}

/** Judges a workload that has finished, with all hosts and the control plane well. Removes its instances. */
export async function judge(world: World, workload: Workload): Promise<Verdict> {
  const { operations, expected } = workload;
  const lost = operations.filter(({ fate }) => fate === null || fate === 'lost');
  const there = await waitFor('the list of instances', () => listInstances(world).catch(() => undefined), {
    timeoutMs: SETTLE_MS,
    everyMs: 500,
  });
  const onHosts = await Promise.all(world.hosts.map(async (host) => ({ host, names: await namesOn(world, host) })));
  const placesOf = (name: string) =>
    onHosts.filter(({ names }) => names.includes(name)).map(({ host }) => `host${host}`);
  const known = new Set(there.map(({ name }) => name));
  const wrong = [
    ...[...expected]
      .filter(([name, isThere]) => isThere !== known.has(name))
      .map(([name, isThere]) => `${name}: ${isThere ? 'gone' : 'there'}`),
    ...there
      .filter(({ name, location }) => !placesOf(name).includes(location))
      .map(({ name, location }) => `${name}: not on ${location}`),
    ...onHosts.flatMap(({ host, names }) =>
      names.filter((name) => !known.has(name)).map((name) => `${name}: on host${host} alone`),
    ),
  ];
  const doubled = [...new Set(onHosts.flatMap(({ names }) => names))].filter((name) => placesOf(name).length > 1);
  await removeAll(world);
  // An address or a mount may take a moment longer than the deletion that caused it.
  let leaked: string[] = [];
  await waitFor(
    'nothing to be left',
    async () => {
      leaked = (await Promise.all(world.hosts.map((host) => traces(world, host)))).flat();
      return leaked.length === 0;
    },
    { timeoutMs: 15_000, everyMs: 1_000 },
  ).catch(() => undefined);
  return {
    started: operations.length,
    ended: operations.length - lost.length,
    lost: lost.map(({ what, instance, id }) => `${what} ${instance} (${id})`),
    doubled,
    wrong,
    leaked,
  };
}
