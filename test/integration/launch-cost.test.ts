/**
 * What one launch costs the control plane, counted in the debug log of a real one: writes to the database and frames on
 * the member's link. Each is a round trip to somewhere far away in production, so one more is a regression.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#selfhost/wait.ts';
import { type StartedCluster, startCluster } from '#test/harness/cluster.ts';

const LAUNCHES = 5;
/** Instance, operation, event and command by the request; the result by the Links object. */
const WRITES = [undefined, 'links'];
const FRAMES = ['out command', 'in ack', 'in result', 'out result-ack'];

const Line = z.union([
  z.object({ event: z.literal('db.write'), object: z.string().optional(), statements: z.number() }),
  z.object({ event: z.literal('link.frame'), direction: z.enum(['in', 'out']), type: z.string() }),
]);
type Line = z.infer<typeof Line>;

let cluster: StartedCluster;
beforeAll(async () => {
  cluster = await startCluster({ hosts: 1, debian: false, logLevel: 'debug' });
  // The image's download and the first pruning are nobody's launch.
  await launchByOneRequest('warm');
  await waitFor('the first pruning', () => lines().some((line) => 'object' in line && line.object === 'cluster'), {
    timeoutMs: 30_000,
  });
});
afterAll(() => cluster?.stop());

/** Everything counted so far. */
function lines(): Line[] {
  return readFileSync(join(cluster.info.runDir, 'log/control.log'), 'utf8')
    .split('\n')
    .flatMap((text) => (text.startsWith('{') && text.endsWith('}') ? [Line.safeParse(JSON.parse(text))] : []))
    .flatMap((parsed) => (parsed.success ? [parsed.data] : []));
}

interface Cost {
  /** Which object wrote; undefined: the request. */
  writes: (string | undefined)[];
  frames: string[];
}

function costOf(counted: Line[]): Cost {
  return {
    writes: counted.flatMap((line) => (line.event === 'db.write' ? [line.object] : [])),
    // Load figures and names for the hosts' DNS come by the clock.
    frames: counted
      .flatMap((line) => (line.event === 'link.frame' ? [`${line.direction} ${line.type}`] : []))
      .filter((frame) => frame !== 'in load' && frame !== 'out names'),
  };
}

/**
 * The costs of launches one after another, so that what one leaves for later shows in the next. A launch during which the
 * agent's half-minute refresh fell tells nothing of itself; there is no other report beside a result, so that is one at most.
 */
async function measure(results: number, launch: (index: number) => Promise<void>): Promise<Cost[]> {
  const costs: Cost[] = [];
  for (let index = 0; index < LAUNCHES; index++) {
    const before = lines().length;
    await launch(index);
    costs.push(
      await waitFor('the result to be acknowledged', () => {
        const cost = costOf(lines().slice(before));
        return cost.frames.filter((frame) => frame === 'out result-ack').length === results && cost;
      }),
    );
  }
  const undisturbed = costs.filter(({ frames }) => !frames.includes('in inventory'));
  expect(undisturbed.length).toBeGreaterThanOrEqual(LAUNCHES - 1);
  return undisturbed;
}

async function launchByOneRequest(name: string): Promise<void> {
  const source = { type: 'image', alias: 'tiny' };
  const body = JSON.stringify({ name, type: 'container', start: true, source, config: {}, devices: {} });
  const { stdout } = await cluster.lxc(['query', '--wait', '-X', 'POST', '-d', body, '/1.0/instances']);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'Success' });
}

async function launchByClient(name: string): Promise<void> {
  expect(await cluster.lxc(['launch', 'tiny', name])).toMatchObject({ code: 0 });
}

describe('a launch', () => {
  it('by one request costs two writes and four frames', async () => {
    for (const cost of await measure(1, (index) => launchByOneRequest(`one-${index}`))) {
      expect(cost).toEqual({ writes: WRITES, frames: FRAMES });
    }
  });

  it('by the stock client, which creates and then starts, costs twice as much', async () => {
    for (const cost of await measure(2, (index) => launchByClient(`client-${index}`))) {
      expect(cost).toEqual({ writes: [...WRITES, ...WRITES], frames: [...FRAMES, ...FRAMES] });
    }
  });
});
