/** A campaign: faults one after another, drawn from a seed, while the workload goes on; then the verdict. */

import { FAULTS, type Fault } from './kinds.ts';
import { pause } from './pause.ts';
import { createRandom } from './random.ts';
import { judge, type Verdict } from './verdict.ts';
import { startWorkload } from './workload.ts';
import { startWorld, type World } from './world.ts';

export interface CampaignOptions {
  faults: number;
  seed: number;
  say(line: string): void;
}

export interface Tally {
  name: string;
  count: number;
  longestRecoveryMs: number;
}

export interface Report {
  seed: number;
  faults: Tally[];
  execs: { started: number; succeeded: number };
  verdict: Verdict;
}

/** Longer than this, and the campaign is not worth going on with. */
const RECOVERY_LIMIT_MS = 90_000;
const PROBE_EVERY_MS = 100;

/** Runs it on a cluster of its own, which is gone afterwards. Throws when the cluster does not recover at all. */
export async function runCampaign({ faults, seed, say }: CampaignOptions): Promise<Report> {
  const random = createRandom(seed);
  const world = await startWorld();
  try {
    const workload = startWorkload(world, random.fork());
    const tallies = new Map<string, Tally>();
    for (const [index, fault] of draw(faults, random.fork()).entries()) {
      await fault.strike(world, random.fork());
      const recoveryMs = await recover(world, fault.name);
      const tally = tallies.get(fault.name) ?? { name: fault.name, count: 0, longestRecoveryMs: 0 };
      tally.count += 1;
      tally.longestRecoveryMs = Math.max(tally.longestRecoveryMs, recoveryMs);
      tallies.set(fault.name, tally);
      say(`${index + 1}/${faults} ${fault.name}: well after ${(recoveryMs / 1000).toFixed(1)} s`);
    }
    await workload.finish();
    return { seed, faults: [...tallies.values()], execs: workload.execs, verdict: await judge(world, workload) };
  } finally {
    await world.stop();
  }
}

/** Every kind equally often, in an order of the seed's. */
function draw(count: number, random: ReturnType<typeof createRandom>): Fault[] {
  const drawn: Fault[] = [];
  let round: Fault[] = [];
  while (drawn.length < count) {
    if (round.length === 0) round = [...FAULTS];
    const [fault] = round.splice(random.between(0, round.length - 1), 1);
    if (fault !== undefined) drawn.push(fault);
  }
  return drawn;
}

/** Time until the API answers, every member is online, and every agent answers a question. */
async function recover(world: World, after: string): Promise<number> {
  const from = performance.now();
  for (;;) {
    if (await isWell(world)) return performance.now() - from;
    if (performance.now() - from > RECOVERY_LIMIT_MS)
      throw new Error(`Not well ${RECOVERY_LIMIT_MS} ms after: ${after}`);
    await pause(PROBE_EVERY_MS);
  }
}

async function isWell({ api, hosts }: World): Promise<boolean> {
  const answer = await api('GET', '/1.0/cluster/members?recursion=1').catch(() => null);
  const members = answer?.status === 200 ? answer.body.metadata : null;
  const online =
    Array.isArray(members) &&
    members.length === hosts.length &&
    members.every((member: { status?: unknown }) => member.status === 'Online');
  if (!online) return false;
  const asked = await Promise.all(
    hosts.map((host) => api('GET', `/1.0/storage-pools/default/resources?target=host${host}`).catch(() => null)),
  );
  return asked.every((reply) => reply?.status === 200);
}

/** True when nothing that was promised was broken. */
export const isClean = ({ lost, doubled, wrong, leaked }: Verdict): boolean =>
  [lost, doubled, wrong, leaked].every((list) => list.length === 0);

export function formatReport({ seed, faults, execs, verdict }: Report): string {
  const total = faults.reduce((sum, { count }) => sum + count, 0);
  const longest = Math.max(0, ...faults.map(({ longestRecoveryMs }) => longestRecoveryMs));
  const lines = [
    `${'FAULT'.padEnd(24)}${'TIMES'.padStart(6)}${'LONGEST RECOVERY'.padStart(20)}`,
    ...faults
      .toSorted((a, b) => a.name.localeCompare(b.name))
      .map(
        ({ name, count, longestRecoveryMs }) =>
          `${name.padEnd(24)}${String(count).padStart(6)}${`${(longestRecoveryMs / 1000).toFixed(1)} s`.padStart(20)}`,
      ),
    '',
    `faults               ${total} of ${faults.length} kinds, seed ${seed}`,
    `operations started   ${verdict.started}`,
    `operations ended     ${verdict.ended}`,
    `lost                 ${verdict.lost.length}`,
    `doubled              ${verdict.doubled.length}`,
    `not as promised      ${verdict.wrong.length}`,
    `leaked               ${verdict.leaked.length}`,
    `execs                ${execs.succeeded} of ${execs.started} through`,
    `longest recovery     ${(longest / 1000).toFixed(1)} s`,
    ...[...verdict.lost, ...verdict.doubled, ...verdict.wrong, ...verdict.leaked].map((line) => `  ${line}`),
  ];
  return lines.join('\n');
}
