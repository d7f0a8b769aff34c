/** Headers of a forwarded request or answer. Pure. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

/** Meant for one connection only (RFC 9110, 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Everything but hop-by-hop headers and those that `connection` names. */
export function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name, value]) => value !== undefined && !HOP_BY_HOP.has(name) && !named.includes(name),
    ),
  );
}

/**
 * What goes to the control plane: a local client cannot bring credentials or claims of its own, the agent's session and the
 * local user are put in their place.
 */
export function outgoingHeaders(
  headers: IncomingHttpHeaders,
  session: { authority: string; token: string },
): OutgoingHttpHeaders {
  const kept = Object.entries(endToEnd(headers)).filter(
    ([name]) => name !== 'authorization' && name !== 'host' && name !== 'expect' && !name.startsWith('x-longshore-'),
  );
  return {
    ...Object.fromEntries(kept),
    host: session.authority,
    authorization: `Bearer ${session.token}`,
    // Who may open the socket is an administrator: LXD's rule. Node cannot see the peer's user.
    'x-longshore-local-user': 'root',
  };
}
