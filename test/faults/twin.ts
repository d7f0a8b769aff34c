/** A copy of a host's disk that runs beside it: the same key, the same journal, and a later epoch. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  dropHost,
  ensureBareHost,
  getHost,
  type Playground,
  startHostAgent,
  statusOf,
} from '#selfhost/playground/cluster.ts';
import type { Host } from '#selfhost/playground/host.ts';
import { waitFor } from '#selfhost/wait.ts';

/** No host of a campaign has this number. */
const TWIN = 9;
const FILES = [
  'etc-longshore/agent.yaml',
  'etc-longshore/agent.key',
  'longshore/epoch',
  'longshore/agent.db',
  'longshore/agent.db-wal',
  'longshore/agent.db-shm',
];
/** As after some starts of the copy while the original went on: by its epoch it would be the newer one. */
const STARTS = 50;

function copyDisk(from: Host, to: Host): void {
  for (const file of FILES) {
    const source = path.join(from.dir, file);
    mkdirSync(path.dirname(path.join(to.dir, file)), { recursive: true });
    if (existsSync(source)) copyFileSync(source, path.join(to.dir, file));
  }
  const epoch = path.join(to.dir, 'longshore/epoch');
  writeFileSync(epoch, `${Number(readFileSync(epoch, 'utf8')) + STARTS}\n`);
}

/** The twin runs while `whileSo` does, and is gone afterwards. Throws when it was taken for the member. */
export async function withTwin(playground: Playground, host: number, whileSo: () => Promise<void>): Promise<void> {
  const twin = await ensureBareHost(playground, TWIN);
  try {
    const agent = statusOf(playground).find((status) => status.number === host)?.agentPid;
    // A disk is copied at one moment.
    if (agent != null) process.kill(agent, 'SIGSTOP');
    copyDisk(getHost(playground, host), twin);
    if (agent != null) process.kill(agent, 'SIGCONT');
    startHostAgent(playground, TWIN);
    const says = (event: string) => readFileSync(path.join(twin.dir, 'log', 'agent.log'), 'utf8').includes(event);
    await waitFor(`the copy of host${host} to be refused`, () => says('link.refused'), { timeoutMs: 30_000 });
    await whileSo();
    if (says('link.up')) throw new Error(`A copy of host${host} was taken for it`);
  } finally {
    await dropHost(playground, TWIN);
  }
}
