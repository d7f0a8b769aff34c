/** The running playground as other programs see it. */
import type net from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import { childrenOf } from '../processes.ts';
import {
  addHost,
  boot,
  crash,
  cut,
  dropHost,
  endHostAgent,
  ensureBareHost,
  heal,
  joinBareHost,
  type Playground,
  startHostAgent,
  statusOf,
} from './cluster.ts';
import { type Request, serve } from './rpc.ts';

/** Enough to enter hosts and run the client without asking again. */
export const Info = z.object({
  runDir: z.string(),
  octet: z.number(),
  port: z.number(),
  conf: z.string(),
  program: z.string(),
  /** Name of a process of the control plane → pid. */
  controlPids: z.record(z.string(), z.number()),
});
export type Info = z.infer<typeof Info>;

export const Status = z.array(
  z.object({
    number: z.number(),
    name: z.string(),
    power: z.enum(['on', 'off']),
    cable: z.enum(['connected', 'cut']),
    agentPid: z.number().nullable(),
  }),
);

export const socketOf = (runDir: string): string => path.join(runDir, 'playground.sock');

export function describe(playground: Playground): Info {
  const { pid } = playground.control.child;
  return {
    runDir: playground.run.dir,
    octet: playground.net.octet,
    port: playground.port,
    conf: playground.client.conf,
    program: playground.program,
    controlPids: pid === undefined ? {} : { front: pid, ...childrenOf(pid) },
  };
}

/** Answers other programs until the server is closed. */
export const servePlayground = (playground: Playground): Promise<net.Server> =>
  serve(socketOf(playground.run.dir), (request) => handle(playground, request));

async function handle(playground: Playground, request: Request): Promise<unknown> {
  const host = () => {
    if (request.host === undefined) throw new Error(`${request.verb} needs the number of a host`);
    return request.host;
  };
  switch (request.verb) {
    case 'info':
      return describe(playground);
    case 'status':
      return statusOf(playground);
    case 'add':
      return (await addHost(playground)).name;
    case 'cut':
      return cut(playground, host());
    case 'heal':
      return heal(playground, host());
    case 'crash':
      return crash(playground, host());
    case 'boot':
      return boot(playground, host());
    case 'ensure-bare':
      return (await ensureBareHost(playground, host())).name;
    case 'join':
      return joinBareHost(playground, host());
    case 'start-agent':
      return startHostAgent(playground, host());
    case 'stop-agent':
      return endHostAgent(playground, host(), 'stop');
    case 'kill-agent':
      return endHostAgent(playground, host(), 'kill');
    case 'drop':
      return dropHost(playground, host());
  }
}
