/**
 * Which kind of bearer token a request came with: a host's session, a token of ours, or an OIDC issuer's. What it says of
 * itself only chooses who is to verify it; each of them asks for its own issuer, audience and algorithm, so a token that
 * claims to be of another kind is refused there.
 */
import { decodeJwt } from 'jose';
import { TOKEN_ISSUER } from '#worker/lib/access-token.ts';

export type BearerKind = 'session' | 'token' | 'oidc';

/** Null for what is no JWT. Sessions name no issuer, OIDC's is a URL. */
export function bearerKind(bearer: string): BearerKind | null {
  const issuer = issuerOf(bearer);
  if (issuer === null) return null;
  if (issuer === undefined) return 'session';
  return issuer === TOKEN_ISSUER ? 'token' : 'oidc';
}

function issuerOf(bearer: string): string | undefined | null {
  try {
    const { iss } = decodeJwt(bearer);
    return iss === undefined || typeof iss === 'string' ? iss : null;
  } catch {
    return null;
  }
}
