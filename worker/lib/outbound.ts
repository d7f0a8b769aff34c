/** Requests to the world outside. Only what is given a network can reach one. */

interface OutboundEnv {
  /** Self-hosted: a network service that reaches private addresses too. The default one reaches public addresses only. */
  PRIVATE_NETWORK?: { fetch(url: string, init: RequestInit): Promise<Response> };
}

/** A receiver that takes longer would hold up the others. */
const TIMEOUT_MS = 10_000;

export interface Outbound {
  /** The status, whatever it is; redirects are not followed. Throws when there is no answer. */
  post(url: string, request: { headers: Record<string, string>; body: string; allowPrivate: boolean }): Promise<number>;
}

export function createOutbound(env: OutboundEnv): Outbound {
  return {
    async post(url, { headers, body, allowPrivate }) {
      const init: RequestInit = {
        method: 'POST',
        headers,
        body,
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      };
      const network = allowPrivate ? env.PRIVATE_NETWORK : undefined;
      const answer = await (network === undefined ? fetch(url, init) : network.fetch(url, init));
      await answer.body?.cancel();
      return answer.status;
    },
  };
}
