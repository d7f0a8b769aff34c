/** Requests to the world outside. Only what is given a network can reach one. */

export interface OutboundEnv {
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

/** A key set with many keys is a tenth of this. */
const JSON_LIMIT_BYTES = 256 * 1024;
/** Somebody waits for it. */
const JSON_TIMEOUT_MS = 5_000;

/** The JSON of a page. Throws for any status but 200, redirects among them, for what is too large, late or no JSON. */
export async function fetchJson(env: OutboundEnv, url: string, { allowPrivate = false } = {}): Promise<unknown> {
  const headers = { accept: 'application/json' };
  const init: RequestInit = { headers, redirect: 'manual', signal: AbortSignal.timeout(JSON_TIMEOUT_MS) };
  const network = allowPrivate ? env.PRIVATE_NETWORK : undefined;
  const answer = await (network === undefined ? fetch(url, init) : network.fetch(url, init));
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`${url} answered ${answer.status}`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength;
    if (size > JSON_LIMIT_BYTES) throw new Error(`${url} answered more than ${JSON_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(await new Blob(chunks).text());
}
