/**
 * `npm run test:line`: three members at the end of a long, bad line (500 ms round trip, 5 % loss) for an hour. Nobody may be
 * seen offline, and every launch and exec must work. Prints what it counted; exits 1 when anything failed.
 *
 *     npm run test:line -- --minutes 60
 */
import { parseArgs } from 'node:util';
import { lxc } from '#selfhost/playground/client.ts';
import { endHostAgent, startHostAgent } from '#selfhost/playground/cluster.ts';
import { waitFor } from '#selfhost/wait.ts';
import { ask, follow, launchBody } from './operations.ts';
import { pause } from './pause.ts';
import { clearWire, delayPackets, endRelay } from './wire.ts';
import { STEM } from './workload.ts';
import { startWorld, type World } from './world.ts';

const LINE = { delayMs: 250, percent: 5 };
const LOOK_EVERY_MS = 1_000;
const LAUNCH_EVERY_MS = 20_000;
const OPERATION_LIMIT_MS = 120_000;

interface Count {
  looks: number;
  /** Looks at which a member was not online. */
  away: number;
  launches: { started: number; succeeded: number };
  execs: { started: number; succeeded: number };
}

async function statuses({ api }: World): Promise<string[]> {
  const { body } = await api('GET', '/1.0/cluster/members?recursion=1');
  return Array.isArray(body.metadata) ? body.metadata.map((member: { status?: unknown }) => String(member.status)) : [];
}

async function succeed(world: World, method: string, url: string, body?: unknown): Promise<boolean> {
  const started = Date.now();
  const id = await ask(world, method, url, body);
  return id !== null && (await follow(world, id, () => Date.now() - started > OPERATION_LIMIT_MS)) === 'Success';
}

/** One instance's life, on a member of the scheduler's choice. */
async function live(world: World, name: string, count: Count): Promise<void> {
  const url = `/1.0/instances/${name}`;
  count.launches.started += 1;
  if (!(await succeed(world, 'POST', '/1.0/instances', launchBody(name, 'default')))) return;
  count.launches.succeeded += 1;
  count.execs.started += 1;
  const ran = await lxc(world.playground.client, ['exec', name, '--', 'echo', name], { timeoutMs: 60_000 }).catch(
    () => null,
  );
  if (ran?.code === 0 && ran.stdout.trim() === name) count.execs.succeeded += 1;
  await succeed(world, 'PUT', `${url}/state`, { action: 'stop', force: true, timeout: -1 });
  await succeed(world, 'DELETE', url);
}

async function run(minutes: number): Promise<Count> {
  const world = await startWorld();
  const relays = [];
  try {
    for (const host of world.hosts) {
      relays.push(await delayPackets(world.playground, host, LINE));
      await endHostAgent(world.playground, host, 'kill');
      startHostAgent(world.playground, host);
    }
    const allOnline = async () => (await statuses(world)).every((status) => status === 'Online');
    await pause(5_000);
    await waitFor('the members on the long line', allOnline, { timeoutMs: 60_000, everyMs: 500 });

    const count: Count = {
      ...{ looks: 0, away: 0 },
      launches: { started: 0, succeeded: 0 },
      execs: { started: 0, succeeded: 0 },
    };
    const end = Date.now() + minutes * 60_000;
    const look = async () => {
      for (; Date.now() < end; await pause(LOOK_EVERY_MS)) {
        count.looks += 1;
        if (!(await allOnline())) count.away += 1;
      }
    };
    const launch = async () => {
      for (let index = 0; Date.now() < end; index++) {
        await live(world, `${STEM}-line${index}`, count);
        await pause(LAUNCH_EVERY_MS);
      }
    };
    await Promise.all([look(), launch()]);
    return count;
  } finally {
    for (const host of world.hosts) await clearWire(world.playground, host);
    for (const { relay } of relays) await endRelay(relay);
    await world.stop();
  }
}

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '60' } } });
const count = await run(Number(values.minutes));
process.stdout.write(`${values.minutes} minutes at 500 ms round trip and 5 % loss
looks with a member away   ${count.away} of ${count.looks}
launches                   ${count.launches.succeeded} of ${count.launches.started}
execs                      ${count.execs.succeeded} of ${count.execs.started}
`);
const isClean =
  count.away === 0 &&
  count.launches.succeeded === count.launches.started &&
  count.execs.succeeded === count.execs.started;
process.exit(isClean ? 0 : 1);
