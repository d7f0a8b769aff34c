/** Faults on a host's cable, made in the router below the product: lost packets, silence, delay. Real sockets, real packets. */
import type { ChildProcess } from 'node:child_process';
import { inRepository } from '#selfhost/paths.ts';
import type { Playground } from '#selfhost/playground/cluster.ts';
import { routerOf } from '#selfhost/playground/network.ts';
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
  const { octet } = playground.net;
  const [own, control] = [`10.${octet}.${host}.1`, `10.${octet}.0.10`];
  const script = inRepository('test/faults/relay.mjs');
  const words = ['netns', 'exec', routerOf(playground.net), process.execPath, script];
  const relay = startDaemon(
    'ip',
    [...words, `${own}:${RELAY_PORT}`, `${control}:${CONTROL_PORT}`, String(delayMs)],
    {},
  );
  await waitFor('the relay', async () => {
    const probe = await run('ip', ['netns', 'exec', routerOf(playground.net), 'ss', '-ltnH', `sport = :${RELAY_PORT}`]);
    return probe.stdout.includes(own);
  });
  await inRouter(
    playground,
    `table ip ${tableOf(host)} {
  chain nat { type nat hook prerouting priority -100; iifname "h${host}" tcp dport ${CONTROL_PORT} dnat to ${own}:${RELAY_PORT}; }
  chain in { type filter hook prerouting priority -300; iifname "h${host}" numgen random mod 100 < ${percent} drop; }
  chain out { type filter hook postrouting priority -300; oifname "h${host}" numgen random mod 100 < ${percent} drop; }
}
`,
  );
  return { relay };
}

export const endRelay = (relay: ChildProcess): Promise<void> => stopDaemon(relay, 1_000);
