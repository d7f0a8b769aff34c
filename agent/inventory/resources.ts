/** What the host is, told again when it has changed: an interface that was made after the hello, an address that moved. */
import { readdir } from 'node:fs/promises';
import type { AgentFrame } from '#protocol/frames.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { Log } from '../log.ts';

/** One directory listing. */
const LOOK_MS = 2_000;
/** Without an interface that came or went: addresses, for one, may have changed. */
const REFRESH_MS = 30_000;

export interface ResourceWatchDeps {
  read(): Promise<HostResources>;
  send(frame: AgentFrame): boolean;
  log: Log;
}

export interface ResourceWatch {
  /** For a hello: what it answers counts as told. */
  describe(): Promise<HostResources>;
  stop(): void;
}

export function watchResources({ read, send, log }: ResourceWatchDeps): ResourceWatch {
  let told = '';
  let seen = '';
  let nextMs = Date.now() + REFRESH_MS;
  let timer: NodeJS.Timeout;

  const look = async () => {
    const links = await listLinks();
    if (links === seen && Date.now() < nextMs) return;
    nextMs = Date.now() + REFRESH_MS;
    const resources = await read();
    const text = JSON.stringify(resources);
    if (text === told || send({ type: 'resources', resources })) {
      told = text;
      seen = links;
    }
  };
  const again = () => {
    timer = setTimeout(() => {
      void look()
        .catch((err) => log.warn('inventory.resources.failed', { err }))
        .finally(again);
    }, LOOK_MS);
  };
  again();
  return {
    describe: async () => {
      const resources = await read();
      told = JSON.stringify(resources);
      return resources;
    },
    stop: () => clearTimeout(timer),
  };
}

/** Instances' NICs come and go all the time and are not told. */
async function listLinks(): Promise<string> {
  const names = await readdir('/sys/class/net').catch(() => []);
  return names.filter((name) => !/^veth[0-9a-f]{8}$/.test(name)).join(' ');
}
