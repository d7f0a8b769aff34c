/** Access tokens of a configured identity provider. */
import { createLocalJWKSet, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import type { ExternalIssuer } from '#worker/domain/oidc.ts';
import type { IssuerKeys } from '#worker/lib/issuer-keys.ts';

/** Public-key signatures only: a token "signed" with something public must not pass. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
/** Between the issuer's clock and ours. */
const CLOCK_TOLERANCE_S = 5;
const LONGEST_NAME = 255;

/** The user that a good token names; null for any other, and for all of them while the issuer's keys cannot be had. */
export async function recognizeExternalToken(
  mode: ExternalIssuer,
  keys: IssuerKeys,
  token: string,
  now: string,
): Promise<string | null> {
  const options: JWTVerifyOptions = {
    issuer: mode.issuer,
    algorithms: ALGORITHMS,
    clockTolerance: CLOCK_TOLERANCE_S,
    currentDate: new Date(now),
    requiredClaims: ['sub', 'exp'],
    ...(mode.audience === '' ? {} : { audience: mode.audience }),
  };
  const payload = await verify(mode.issuer, keys, token, options);
  if (payload === null || (mode.audience === '' && !isForClient(payload, mode.clientId))) return null;
  return nameOf(payload, mode.claim);
}

async function verify(
  issuer: string,
  keys: IssuerKeys,
  token: string,
  options: JWTVerifyOptions,
): Promise<JWTPayload | null> {
  for (const missed of [false, true]) {
    const set = await keys.get(issuer, missed);
    if (set === null) return null;
    try {
      return (await jwtVerify(token, createLocalJWKSet(set), options)).payload;
    } catch (error) {
      // The issuer may have changed its keys.
      if (!(error instanceof errors.JWKSNoMatchingKey)) return null;
    }
  }
  return null;
}

/** An issuer serves many programs: a token that was made for another one says nothing about this cluster. */
function isForClient({ aud, azp, client_id }: JWTPayload, clientId: string): boolean {
  const audience = Array.isArray(aud) ? aud : [aud];
  return audience.includes(clientId) || azp === clientId || client_id === clientId;
}

function nameOf({ sub, email, ...claims }: JWTPayload, claim: string): string | null {
  const name = claim === '' ? (email ?? sub) : { sub, email, ...claims }[claim];
  return typeof name === 'string' && /^[^\p{Cc}\p{Cf}]+$/u.test(name) && name.length <= LONGEST_NAME ? name : null;
}
