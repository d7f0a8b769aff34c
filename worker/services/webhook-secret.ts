/** Secrets that sign webhooks. Both ways of signing take any; ours carry 256 random bits. */
import { badRequest } from '#protocol/errors.ts';
import { newSecret } from '#worker/lib/crypto.ts';

export type Scheme = 'standard' | 'github';

/** Standard Webhooks: 24 to 64 bytes. GitHub says "high entropy": as many characters. */
const BYTES = { minimum: 24, maximum: 64 } as const;
const GITHUB_MAXIMUM = 256;

const toBase64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));

/** In the form that the sender's settings ask for. */
export const newWebhookSecret = (scheme: Scheme): string =>
  scheme === 'github' ? newSecret() : `whsec_${toBase64(crypto.getRandomValues(new Uint8Array(32)))}`;

/** The key of the HMAC. Throws 400 for what is too short to be a secret, or no secret of the scheme. */
export function readWebhookSecret(scheme: Scheme, secret: string): Uint8Array {
  if (scheme === 'github') {
    const key = new TextEncoder().encode(secret);
    if (key.length < BYTES.minimum || key.length > GITHUB_MAXIMUM)
      throw badRequest(`A secret has ${BYTES.minimum} to ${GITHUB_MAXIMUM} characters`);
    return key;
  }
  const match = /^(?:whsec_)?([A-Za-z0-9+/]+={0,2})$/.exec(secret);
  const bytes = match?.[1] === undefined ? null : decode(match[1]);
  if (bytes === null || bytes.length < BYTES.minimum || bytes.length > BYTES.maximum)
    throw badRequest(`A secret is whsec_ and ${BYTES.minimum} to ${BYTES.maximum} bytes in base64`);
  return bytes;
}

function decode(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}
