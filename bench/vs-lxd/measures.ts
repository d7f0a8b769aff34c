/** What is measured, by the stock client on both sides: the words a user would type. */
import { run } from '#selfhost/run.ts';
import type { FloorVerb } from './floor.ts';
import type { Measure, Side } from './pairs.ts';

/** With the bare-tools work that it stands beside, if there is any. */
export interface BenchMeasure extends Measure {
  floor?: FloorVerb;
}

const PARALLEL = 30;
const LISTED = 100;
/** How many instances are launched or deleted at a time where nobody looks at the clock. */
const AT_A_TIME = 6;
export const FILE_MB = 100;
/** The instance that commands and files go to: never on the host that LXD's client talks to. */
const REMOTE = 'remote';

const instance = (stem: string, round: number, index = 0) => `${stem}-r${round}-${index}`;

async function launch(side: Side, name: string, ...options: string[]): Promise<void> {
  await side.lxc(['launch', 'tiny', name, ...options]);
}

async function remove(side: Side, names: string[]): Promise<void> {
  await inLanes(names, (name) => side.lxc(['delete', '--force', name]));
}

async function inLanes(names: string[], work: (name: string) => Promise<unknown>): Promise<void> {
  const waiting = [...names];
  const lane = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await work(name);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
}

const launchOne: BenchMeasure = {
  name: 'launch one to RUNNING',
  unit: 'ms',
  target: 0.3,
  floor: 'launch',
  run: (side, round) => launch(side, instance('one', round)),
  after: (side, round) => remove(side, [instance('one', round)]),
};

const many = (round: number) => Array.from({ length: PARALLEL }, (_, index) => instance('many', round, index));

const launchMany: BenchMeasure = {
  name: `launch ${PARALLEL} at once`,
  unit: 'ms',
  target: 0.2,
  floor: 'launch-many',
  run: async (side, round) => {
    await Promise.all(many(round).map((name) => launch(side, name)));
  },
  after: (side, round) => remove(side, many(round)),
};

const listed = Array.from({ length: LISTED }, (_, index) => `listed-${index}`);

/** The last: its instances go with their clusters, which takes a second instead of a minute. */
const list: BenchMeasure = {
  name: `list with ${LISTED} instances`,
  unit: 'ms',
  target: 0.1,
  setUp: (side) => inLanes(listed, (name) => launch(side, name)),
  run: async (side) => {
    const rows = (await side.lxc(['list'])).match(/^\| listed-\d+ .* RUNNING /gm) ?? [];
    if (rows.length !== LISTED) throw new Error(`${side.name}: lxc list shows ${rows.length} of ${LISTED} instances`);
  },
};

const launchRemote = (side: Side) => launch(side, REMOTE, '--target', 'host2');
const removeRemote = (side: Side) => remove(side, [REMOTE]);

const exec: BenchMeasure = {
  name: 'exec on another host',
  unit: 'ms',
  target: 0.6,
  floor: 'exec',
  setUp: launchRemote,
  tearDown: removeRemote,
  run: async (side) => {
    await side.lxc(['exec', REMOTE, '--', 'true']);
  },
};

const stop: BenchMeasure = {
  name: 'stop -f',
  unit: 'ms',
  target: 0.2,
  floor: 'stop',
  before: (side, round) => launch(side, instance('stop', round)),
  run: async (side, round) => {
    await side.lxc(['stop', '-f', instance('stop', round)]);
  },
  after: (side, round) => remove(side, [instance('stop', round)]),
};

/** `file` holds `FILE_MB` of noise. */
function transfers(file: string): BenchMeasure[] {
  const copy = `${file}.back`;
  const pushNoise = async (side: Side) => {
    await side.lxc(['file', 'push', file, `${REMOTE}/root/noise`]);
  };
  const push: BenchMeasure = {
    name: `push ${FILE_MB} MB`,
    unit: 'MB/s',
    target: 1,
    floor: 'push',
    megabytes: FILE_MB,
    setUp: launchRemote,
    tearDown: removeRemote,
    run: pushNoise,
  };
  const pull: BenchMeasure = {
    name: `pull ${FILE_MB} MB`,
    unit: 'MB/s',
    target: 1,
    floor: 'pull',
    megabytes: FILE_MB,
    setUp: async (side) => {
      await launchRemote(side);
      await pushNoise(side);
    },
    tearDown: removeRemote,
    before: async () => {
      await run('rm', ['-f', copy]);
    },
    run: async (side) => {
      await side.lxc(['file', 'pull', `${REMOTE}/root/noise`, copy]);
    },
    // A fast transfer of the wrong bytes is none.
    after: async () => {
      await run('cmp', [file, copy]);
    },
  };
  return [push, pull];
}

/** All, in the order they are run. */
export const measures = (file: string): BenchMeasure[] => [launchOne, stop, exec, ...transfers(file), launchMany, list];

/** Those whose name contains one of `wanted`; all when nothing is wanted. Throws with the names when one fits none. */
export function chooseMeasures(all: BenchMeasure[], wanted: readonly string[]): BenchMeasure[] {
  if (wanted.length === 0) return all;
  const fits = (it: BenchMeasure, text: string) => it.name.toLowerCase().includes(text.toLowerCase());
  for (const text of wanted) {
    if (all.some((it) => fits(it, text))) continue;
    throw new Error(`No measure is called ${text}. There are:\n${all.map(({ name }) => `  ${name}`).join('\n')}`);
  }
  return all.filter((it) => wanted.some((text) => fits(it, text)));
}
