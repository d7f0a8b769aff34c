/** Bearer tokens: what may be asked for. Pure. */
import { parseExpiry } from './server-config.ts';

export const TOKEN_SCOPES = ['full', 'read-only', 'metrics'] as const;
export type TokenScope = (typeof TOKEN_SCOPES)[number];

export const isTokenScope = (text: string): text is TokenScope => TOKEN_SCOPES.some((scope) => scope === text);

const DEFAULT_LIFE = '30d';
/** Longer ones are forgotten by those who made them. */
const LONGEST_MS = 2 * 365 * 86_400_000;

/** The life of a token in ms; null for an expression that is none, for none at all and for more than two years. */
export function parseTokenLife(expiry: string): number | null {
  const lifeMs = parseExpiry(expiry === '' ? DEFAULT_LIFE : expiry);
  return lifeMs === null || lifeMs <= 0 || lifeMs > LONGEST_MS ? null : lifeMs;
}

/** A name is for people: anything that fits a line. */
export const checkTokenName = (name: string): string | null =>
  /^[^\p{Cc}\p{Cf}]{1,64}$/u.test(name) && name.trim() !== ''
    ? null
    : 'A token needs a name of 1 to 64 printable characters';
