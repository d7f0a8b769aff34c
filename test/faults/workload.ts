/**
 * What goes on while faults happen: launches, copies, execs and deletions, several at a time. Remembers every operation that the control
 * plane has acknowledged, and how it ended.
 */
import { lxc } from '#selfhost/playground/client.ts';
import { ask, type Fate, follow, launchBody } from './operations.ts';
import { pause } from './pause.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export interface Tracked {
  id: string;
  what: 'launch' | 'copy' | 'start' | 'stop' | 'delete';
  instance: string;
  /** Null while it is not known. */
  fate: Fate | null;
}

export interface Workload {
  operations: Tracked[];
  /** Instances by what their operations said: true for there. Those of an unanswered request are absent. */
  expected: Map<string, boolean>;
  execs: { started: number; succeeded: number };
  /** Starts nothing more; resolves when every acknowledged operation has ended or is lost. */
  finish(): Promise<void>;
}

/** Stem of every name, by which leftovers are found. */
export const STEM = 'flt';
const LANES = 3;
/** As many instances as the lanes let stand before they only delete. */
const CROWD = 12;
/** How long an operation may take from the end of the last fault on. */
const SETTLE_MS = 120_000;
const PAUSE_MS = 200;

export function startWorkload(world: World, random: Random): Workload {
  const operations: Tracked[] = [];
  const expected = new Map<string, boolean>();
  const execs = { started: 0, succeeded: 0 };
  const busy = new Set<string>();
  let counter = 0;
  let finishingAt: number | null = null;

  const isTooLate = () => finishingAt !== null && Date.now() - finishingAt > SETTLE_MS;

  /** Null when the request was refused or not answered: then nobody was promised anything. */
  async function run(
    what: Tracked['what'],
    instance: string,
    request: [string, string, unknown?],
  ): Promise<Fate | null> {
    const id = await ask(world, ...request);
    if (id === null) return null;
    const tracked: Tracked = { id, what, instance, fate: null };
    operations.push(tracked);
    tracked.fate = await follow(world, id, isTooLate);
    return tracked.fate;
  }

  async function create(
    what: 'launch' | 'copy',
    url: string,
    bodyOf: (name: string) => object,
  ): Promise<string | null> {
    counter += 1;
    const name = `${STEM}-${counter}`;
    busy.add(name);
    const fate = await run(what, name, ['POST', url, bodyOf(name)]);
    if (fate === 'Success' || fate === 'Failure') expected.set(name, fate === 'Success');
    if (fate !== 'Success') busy.delete(name);
    return fate === 'Success' ? name : null;
  }

  async function launch(pool: string): Promise<void> {
    const name = await create('launch', '/1.0/instances', (name) => launchBody(name, pool));
    if (name !== null) busy.delete(name);
  }

  /** To any member: the volume's content goes from host to host, or is cloned. */
  async function copy(source: string, target: number): Promise<void> {
    busy.add(source);
    const bodyOf = (name: string) => ({ name, source: { type: 'copy', source } });
    const name = await create('copy', `/1.0/instances?target=host${target}`, bodyOf);
    busy.delete(source);
    if (name === null) return;
    await run('start', name, ['PUT', `/1.0/instances/${name}/state`, { action: 'start', timeout: -1 }]);
    busy.delete(name);
  }

  async function remove(name: string): Promise<void> {
    busy.add(name);
    await run('stop', name, ['PUT', `/1.0/instances/${name}/state`, { action: 'stop', force: true, timeout: -1 }]);
    const fate = await run('delete', name, ['DELETE', `/1.0/instances/${name}`]);
    if (fate === 'Success') expected.set(name, false);
    // Neither answered nor ended: it may be there or not.
    else if (fate === null) expected.delete(name);
    busy.delete(name);
  }

  async function exec(name: string): Promise<void> {
    execs.started += 1;
    const ran = await lxc(world.playground.client, ['exec', name, '--', 'true'], { timeoutMs: 60_000 }).catch(
      () => null,
    );
    if (ran?.code === 0) execs.succeeded += 1;
  }

  async function lane(own: Random): Promise<void> {
    while (finishingAt === null) {
      const there = [...expected].filter(([name, isThere]) => isThere && !busy.has(name)).map(([name]) => name);
      const dice = own.next();
      if (there.length > 0 && (there.length >= CROWD || dice < 0.3)) await remove(own.pick(there));
      else if (there.length > 0 && dice < 0.55) await exec(own.pick(there));
      else if (there.length > 0 && dice < 0.7) await copy(own.pick(there), own.pick(world.hosts));
      else await launch(own.pick(['default', 'tank']));
      await pause(own.between(0, PAUSE_MS));
    }
  }

  const lanes = Array.from({ length: LANES }, () => lane(random.fork()));
  return {
    operations,
    expected,
    execs,
    finish: async () => {
      finishingAt ??= Date.now();
      await Promise.all(lanes);
    },
  };
}
