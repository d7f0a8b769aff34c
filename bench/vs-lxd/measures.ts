/** What is measured, by the stock client on both sides: the words a user would type. */
import { spawn } from 'node:child_process';
import type { Measure, Side } from './pairs.ts';

const PARALLEL = 30;
const LISTED = 100;
const FILE_MB = 100;

const instance = (stem: string, round: number, index = 0) => `${stem}-r${round}-${index}`;

async function launch(side: Side, name: string, ...options: string[]): Promise<void> {
  await side.lxc(['launch', 'tiny', name, ...options]);
}

const remove = (side: Side, names: string[]) => side.lxc(['delete', '--force', ...names]).then(() => undefined);

const launchOne: Measure = {
  name: 'launch one to RUNNING',
  unit: 'ms',
  run: (side, round) => launch(side, instance('one', round)),
  after: (side, round) => remove(side, [instance('one', round)]),
};

const many = (round: number) => Array.from({ length: PARALLEL }, (_, index) => instance('many', round, index));

const launchMany: Measure = {
  name: `launch ${PARALLEL} at once`,
  unit: 'ms',
  run: async (side, round) => {
    await Promise.all(many(round).map((name) => launch(side, name)));
  },
  after: (side, round) => remove(side, many(round)),
};

/** Made once per side, kept for all rounds, removed by `cleanUp`. */
const listed = Array.from({ length: LISTED }, (_, index) => `listed-${index}`);
const prepared = new Set<string>();

const list: Measure = {
  name: `list with ${LISTED} instances`,
  unit: 'ms',
  before: async (side) => {
    if (prepared.has(side.name)) return;
    prepared.add(side.name);
    for (let at = 0; at < LISTED; at += 4) {
      await Promise.all(listed.slice(at, at + 4).map((name) => launch(side, name)));
    }
  },
  run: async (side) => {
    await side.lxc(['list']);
  },
};

export async function cleanUp(side: Side): Promise<void> {
  if (!prepared.delete(side.name)) return;
  for (let at = 0; at < LISTED; at += 20) await remove(side, listed.slice(at, at + 20));
}

const REMOTE = 'remote';
const ensureRemote = async (side: Side) => {
  const names = (await side.lxc(['list', '--format', 'csv', '-c', 'n'])).split('\n');
  if (!names.includes(REMOTE)) await launch(side, REMOTE, '--target', 'host2');
};
export const removeRemote = (side: Side) => remove(side, [REMOTE]);

const exec: Measure = {
  name: 'exec on another host',
  unit: 'ms',
  before: ensureRemote,
  run: async (side) => {
    await side.lxc(['exec', REMOTE, '--', 'true']);
  },
};

const stop: Measure = {
  name: 'stop -f',
  unit: 'ms',
  before: (side, round) => launch(side, instance('stop', round)),
  run: async (side, round) => {
    await side.lxc(['stop', '-f', instance('stop', round)]);
  },
  after: (side, round) => remove(side, [instance('stop', round)]),
};

/** `file` holds 100 MB of noise. */
function transfers(file: string): Measure[] {
  const push: Measure = {
    name: `push ${FILE_MB} MB`,
    unit: 'MB/s',
    megabytes: FILE_MB,
    before: ensureRemote,
    run: async (side) => {
      await side.lxc(['file', 'push', file, `${REMOTE}/root/noise`]);
    },
  };
  const pull: Measure = {
    name: `pull ${FILE_MB} MB`,
    unit: 'MB/s',
    megabytes: FILE_MB,
    run: async (side) => {
      await side.lxc(['file', 'pull', `${REMOTE}/root/noise`, `${file}.back`]);
    },
  };
  return [push, pull];
}

export const measures = (file: string): Measure[] => [launchOne, stop, exec, ...transfers(file), launchMany, list];

/** A side from the environment that its stock client needs. */
export function stockClient(name: string, env: NodeJS.ProcessEnv): Side {
  return {
    name,
    lxc: (args) =>
      new Promise((resolve, reject) => {
        const child = spawn('lxc', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
        let stdout = '';
        let stderr = '';
        child.stdout.on('data', (chunk: Buffer) => {
          stdout += chunk.toString();
        });
        child.stderr.on('data', (chunk: Buffer) => {
          stderr += chunk.toString();
        });
        child.on('error', reject);
        child.on('close', (code) =>
          code === 0 ? resolve(stdout) : reject(new Error(`${name}: lxc ${args.join(' ')}: ${stderr.trim()}`)),
        );
      }),
  };
}
