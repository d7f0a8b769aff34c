/** Faults on a host's cable, made in the router below the product: lost packets, silence, delay. Real sockets, real packets. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { inRepository } from '#selfhost/paths.ts';
import type { Playground } from '#selfhost/playground/cluster.ts';
import { controlAddressOf, routerOf } from '#selfhost/playground/network.ts';
import { run, startDaemon, stopDaemon } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';

const TABLE = 'faults';
const CONTROL_PORT = 8443;
const RELAY_PORT = 9443;

const inRouter = (playground: Playground, rules: string) =>
  run('ip', ['netns', 'exec', routerOf(playground.net), 'nft', '-f', '-'], { input: rules });

const tableOf = (host: number) => `${TABLE}_h${host}`;

/** Drops that share of the host's packets, both ways, whatever connection they are of. 100: silence. */
export async function losePackets(playground: Playground, host: number, percent: number): Promise<void> {
  const which = percent >= 100 ? '' : `numgen random mod 100 < ${percent} `;
  await inRouter(
    playground,
    `table ip ${tableOf(host)} {
  chain in { type filter hook prerouting priority -300; iifname "h${host}" ${which}drop; }
  chain out { type filter hook postrouting priority -300; oifname "h${host}" ${which}drop; }
}
`,
  );
}

/** What `losePackets` or `delayPackets` made is gone. */
export async function clearWire(playground: Playground, host: number): Promise<void> {
  await run('ip', ['netns', 'exec', routerOf(playground.net), 'nft', 'delete', 'table', 'ip', tableOf(host)], {
    allowFailure: true,
  });
}

/**
 * Puts a relay into the host's way to the control plane that holds every byte for `delayMs` in each direction, and loses
 * `percent` of its packets. Connections that stand keep their way: the host's agent has to dial anew.
 */
export async function delayPackets(
  playground: Playground,
  host: number,
  { delayMs, percent }: { delayMs: number; percent: number },
): Promise<{ relay: ChildProcess }> {
  const relay = await startRelay(playground, host, 'relay.mjs', [String(delayMs)]);
  await inRouter(
    playground,
    `table ip ${tableOf(host)} {
  ${detourOf(playground, host)}
  chain in { type filter hook prerouting priority -300; iifname "h${host}" numgen random mod 100 < ${percent} drop; }
  chain out { type filter hook postrouting priority -300; oifname "h${host}" numgen random mod 100 < ${percent} drop; }
}
`,
  );
  return { relay };
}

/**
 * Puts a relay into the host's way to the control plane that makes frames of its link come twice, late, and with garbage
 * between them. The host's agent has to dial anew.
 */
export async function tamperFrames(playground: Playground, host: number): Promise<{ relay: ChildProcess }> {
  const keys = ['server.crt', 'server.key'].map((name) => path.join(playground.control.dataDir, name));
  const relay = await startRelay(playground, host, 'tamper.mjs', keys);
  await inRouter(playground, `table ip ${tableOf(host)} {\n  ${detourOf(playground, host)}\n}\n`);
  return { relay };
}

const ownAddress = ({ net }: Playground, host: number) => `10.${net.octet}.${host}.1`;

/** New connections of the host end at the relay. */
const detourOf = (playground: Playground, host: number) =>
  `chain nat { type nat hook prerouting priority -100; iifname "h${host}" tcp dport ${CONTROL_PORT} dnat to ${ownAddress(playground, host)}:${RELAY_PORT}; }`;

/** Starts one of this folder's programs in the router; resolves when it listens. */
async function startRelay(
  playground: Playground,
  host: number,
  program: string,
  rest: string[],
): Promise<ChildProcess> {
  const [own, control] = [ownAddress(playground, host), controlAddressOf(playground.net)];
  const inside = ['netns', 'exec', routerOf(playground.net)];
  const words = [process.execPath, inRepository(`test/faults/${program}`)];
  const ends = [`${own}:${RELAY_PORT}`, `${control}:${CONTROL_PORT}`];
  const relay = startDaemon('ip', [...inside, ...words, ...ends, ...rest], {});
  await waitFor('the relay', async () => {
    const probe = await run('ip', [...inside, 'ss', '-ltnH', `sport = :${RELAY_PORT}`]);
    return probe.stdout.includes(own);
  });
  return relay;
}

export const endRelay = (relay: ChildProcess): Promise<void> => stopDaemon(relay, 1_000);
