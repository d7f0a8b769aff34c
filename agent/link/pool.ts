/** Kept connections to the control plane: a request on one of them needs no new TLS handshake. */
import type { ServerAddress } from './address.ts';
import { ServerAgent, type Trust } from './dial.ts';

export interface Pool {
  /** The connections to this address. */
  to(address: ServerAddress): ServerAgent;
  destroy(): void;
}

/** Idle connections are closed after `idleMs`, which must be less than the server's own patience. */
export function createPool(trust: Trust, idleMs: number): Pool {
  const agents = new Map<string, ServerAgent>();
  return {
    to: (address) => {
      const known = agents.get(address.authority);
      const agent = known ?? new ServerAgent(address, trust, { keepAlive: true, timeout: idleMs });
      agents.set(address.authority, agent);
      return agent;
    },
    destroy: () => {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}
