/** The faults: each breaks the real thing, for a while, and puts it back as it was. */
import net from 'node:net';
import { inRepository } from '#selfhost/paths.ts';
import {
  boot,
  bootControl,
  crash,
  crashControl,
  cut,
  endHostAgent,
  getHost,
  heal,
  startHostAgent,
  statusOf,
} from '#selfhost/playground/cluster.ts';
import { execInHost } from '#selfhost/playground/host.ts';
import { childrenOf } from '#selfhost/processes.ts';
import { pause } from './pause.ts';
import type { Random } from './random.ts';
import { withTwin } from './twin.ts';
import { clearWire, delayPackets, endRelay, losePackets, tamperFrames } from './wire.ts';
import type { World } from './world.ts';

export interface Fault {
  name: string;
  /** Resolves when everything is put back; recovery is measured from then on. */
  strike(world: World, random: Random): Promise<void>;
}

const hold = (random: Random, low: number, high: number) => pause(random.between(low, high));

/** Pid of one of the control plane's programs, null while it is being started again. */
function pidOf(world: World, program: string): number | null {
  const { pid } = world.playground.control.child;
  const children = pid === undefined ? {} : childrenOf(pid);
  return Object.entries(children).find(([name]) => name.includes(program))?.[1] ?? null;
}

function kill(pid: number | null | undefined, signal: NodeJS.Signals): void {
  if (pid === null || pid === undefined) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in between.
  }
}

const agentPid = (world: World, host: number) =>
  statusOf(world.playground).find((status) => status.number === host)?.agentPid;

const onHost = (name: string, strike: (world: World, host: number, random: Random) => Promise<void>): Fault => ({
  name,
  strike: (world, random) => strike(world, random.pick(world.hosts), random),
});

/** The agent of `host` runs with something in its environment for a while. */
async function withAgent(
  world: World,
  host: number,
  env: Record<string, string>,
  whileSo: () => Promise<unknown>,
): Promise<void> {
  await endHostAgent(world.playground, host, 'kill');
  startHostAgent(world.playground, host, env);
  try {
    await whileSo();
  } finally {
    await endHostAgent(world.playground, host, 'kill');
    startHostAgent(world.playground, host);
  }
}

/** Bytes that are no TLS, and TLS that is no HTTP worth an answer. */
async function sendGarbage(port: number, random: Random): Promise<void> {
  const bytes = Buffer.from(Array.from({ length: 4096 }, () => random.between(0, 255)));
  await new Promise<void>((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(bytes));
    socket.setTimeout(2_000, () => socket.destroy());
    socket.on('error', () => resolve());
    socket.on('close', () => resolve());
    socket.resume();
  });
}

const FILL = `
for piece in 100G 10G 1G 100M 10M 1M; do
  while fallocate -l "$piece" "$FILE.$piece.$i" 2>/dev/null; do i=$((i + 1)); done
  rm -f "$FILE.$piece.$i"
done
sync -f "$FILE".*; true`;
const POOL_FILLER = '/var/lib/longshore/storage-pools/default/filler';

export const FAULTS: readonly Fault[] = [
  onHost('agent killed', async ({ playground }, host, random) => {
    await endHostAgent(playground, host, 'kill');
    await hold(random, 0, 1_500);
    startHostAgent(playground, host);
  }),
  onHost('agent paused', async (world, host, random) => {
    const pid = agentPid(world, host);
    kill(pid, 'SIGSTOP');
    await hold(random, 500, 5_000);
    kill(pid, 'SIGCONT');
  }),
  {
    name: 'worker killed',
    strike: async (world) => kill(pidOf(world, 'workerd'), 'SIGKILL'),
  },
  {
    name: 'database killed',
    strike: async (world) => kill(pidOf(world, 'sqld'), 'SIGKILL'),
  },
  {
    name: 'database slow',
    strike: async (world, random) => {
      const pid = pidOf(world, 'sqld');
      kill(pid, 'SIGSTOP');
      await hold(random, 500, 6_000);
      kill(pid, 'SIGCONT');
    },
  },
  {
    name: 'control plane killed',
    strike: async ({ playground }, random) => {
      await crashControl(playground);
      await hold(random, 0, 2_000);
      await bootControl(playground);
    },
  },
  onHost('link cut', async ({ playground }, host, random) => {
    await cut(playground, host);
    await hold(random, 300, 6_000);
    await heal(playground, host);
  }),
  onHost('half-open link', async ({ playground }, host, random) => {
    await losePackets(playground, host, 100);
    await hold(random, 8_000, 18_000);
    await clearWire(playground, host);
  }),
  onHost('500 ms and 5 % loss', async (world, host, random) => {
    const { relay } = await delayPackets(world.playground, host, { delayMs: 250, percent: 5 });
    // What stands keeps its way: the next connection takes the long one.
    await endHostAgent(world.playground, host, 'kill');
    startHostAgent(world.playground, host);
    await hold(random, 4_000, 8_000);
    // First the relay: without the detour the agent would not hear that its connection has ended.
    await endRelay(relay);
    await clearWire(world.playground, host);
  }),
  onHost('pool full', async ({ playground }, host, random) => {
    const it = getHost(playground, host);
    // Takes the space without writing it; what is left after it is taken in ever smaller pieces.
    await execInHost(it, ['sh', '-c', FILL], { env: { FILE: POOL_FILLER } });
    await hold(random, 500, 2_000);
    await execInHost(it, ['sh', '-c', 'rm -f "$FILE".*'], { env: { FILE: POOL_FILLER } });
  }),
  onHost('clock an hour off', async (world, host, random) => {
    const shift = random.pick([3_600_000, -3_600_000]);
    const env = {
      NODE_OPTIONS: `--import=${inRepository('test/faults/clock.mjs')}`,
      LONGSHORE_CLOCK_SHIFT_MS: String(shift),
    };
    await withAgent(world, host, env, () => hold(random, 1_000, 4_000));
  }),
  {
    name: 'garbage',
    strike: async ({ playground }, random) => {
      for (let i = 0; i < 5; i++) await sendGarbage(playground.port, random);
    },
  },
  onHost('tampered frames', async ({ playground }, host, random) => {
    const { relay } = await tamperFrames(playground, host);
    await endHostAgent(playground, host, 'kill');
    startHostAgent(playground, host);
    await hold(random, 4_000, 8_000);
    await endRelay(relay);
    await clearWire(playground, host);
  }),
  onHost('two hosts, one identity', ({ playground }, host, random) =>
    withTwin(playground, host, () => hold(random, 2_000, 16_000)),
  ),
  onHost('host reboots alone', async ({ playground }, host, random) => {
    await crash(playground, host);
    await crashControl(playground);
    await boot(playground, host);
    await hold(random, 500, 3_000);
    await bootControl(playground);
  }),
];
