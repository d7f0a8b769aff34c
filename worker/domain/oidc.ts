/**
 * Logging in by OIDC: whose issuer is trusted, and by which names clients know it. Pure.
 *
 * | key                  | what it says                                                                  |
 * |----------------------|-------------------------------------------------------------------------------|
 * | `oidc.issuer`        | URL of an identity provider; empty: the built-in issuer, once there is a user |
 * | `oidc.client.id`     | the client that is registered there for `lxc` and `incus`                     |
 * | `oidc.audience`      | what access tokens must be made for; empty: that client                       |
 * | `oidc.claim`         | the claim that names the user; empty: `email`, else `sub`                     |
 * | `oidc.scopes`        | what clients ask for, separated by commas                                     |
 * | `oidc.allow_private` | boolean: the provider may be at a private address                             |
 */
import { parseBool } from '#protocol/units.ts';
import { isPrivateHost } from './webhook.ts';

export interface ExternalIssuer {
  kind: 'external';
  issuer: string;
  clientId: string;
  audience: string;
  claim: string;
  scopes: string;
  allowPrivate: boolean;
}

/** How people log in; null: not by OIDC. */
export type OidcMode = ExternalIssuer | { kind: 'builtin' } | null;

/** The client that programs are to the built-in issuer. */
export const BUILTIN_CLIENT = 'longshore';

/** By key, LXD's words for a value that is not good, or null. */
export const OIDC_KEYS: readonly [string, (value: string) => string | null][] = [
  [
    'oidc.issuer',
    (value) => (isIssuer(value) ? null : 'Issuer must be an https URL without credentials, query or fragment'),
  ],
  ['oidc.client.id', checkText],
  ['oidc.audience', checkText],
  ['oidc.claim', checkText],
  ['oidc.scopes', checkText],
  ['oidc.allow_private', (value) => (parseBool(value) === null ? 'invalid boolean' : null)],
];

/** They end in headers. */
function checkText(value: string): string | null {
  return /^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/.test(value) ? null : 'Value must be printable ASCII text';
}

/** Without TLS only where nobody else can listen. */
function isIssuer(value: string): boolean {
  if (checkText(value) !== null || /[?#]/.test(value)) return false;
  try {
    const { protocol, hostname, username, password } = new URL(value);
    const isSafe = protocol === 'https:' || (protocol === 'http:' && isPrivateHost(hostname));
    return isSafe && username === '' && password === '';
  } catch {
    return false;
  }
}

/** A provider that is only half configured is none, and yet keeps the built-in issuer off. */
export function oidcMode(config: Record<string, string | undefined>, hasUsers: boolean): OidcMode {
  const value = (key: string) => config[key] ?? '';
  const [issuer, clientId] = [value('oidc.issuer'), value('oidc.client.id')];
  if (issuer === '') return hasUsers ? { kind: 'builtin' } : null;
  if (clientId === '') return null;
  return {
    kind: 'external',
    issuer,
    clientId,
    audience: value('oidc.audience'),
    claim: value('oidc.claim'),
    scopes: value('oidc.scopes'),
    allowPrivate: parseBool(value('oidc.allow_private')) === true,
  };
}

/** The built-in issuer under each address of the control plane: clients reach it where they reach the API. */
export const builtinIssuers = (addresses: readonly string[]): string[] =>
  addresses.map((address) => `https://${address.replace(/:443$/, '')}/issuer`);

/** The one for who asked `host`; a name that is not ours gets the first. */
export function builtinIssuer(addresses: readonly string[], host: string): string {
  const issuers = builtinIssuers(addresses);
  const asked = `https://${host.toLowerCase().replace(/:443$/, '')}/issuer`;
  return issuers.find((issuer) => issuer === asked) ?? issuers[0] ?? asked;
}

/** What clients must know to log in, as headers of an answer that refuses them. LXD and Incus read their own. */
export function loginHeaders(
  mode: OidcMode,
  { addresses, host }: { addresses: readonly string[]; host: string },
): [string, string][] {
  if (mode === null) return [];
  const values =
    mode.kind === 'external'
      ? { issuer: mode.issuer, clientid: mode.clientId, audience: mode.audience }
      : { issuer: builtinIssuer(addresses, host), clientid: BUILTIN_CLIENT, audience: '' };
  const scopes = mode.kind === 'external' ? mode.scopes.split(/[\s,]+/).filter(Boolean) : [];
  return ['LXD', 'Incus'].flatMap((family) => [
    ...Object.entries(values).flatMap(([name, value]): [string, string][] =>
      value === '' ? [] : [[`X-${family}-OIDC-${name}`, value]],
    ),
    ...(scopes.length === 0
      ? []
      : ([[`X-${family}-OIDC-scopes`, family === 'LXD' ? JSON.stringify(scopes) : scopes.join(',')]] satisfies [
          string,
          string,
        ][])),
  ]);
}

/** LXD's rule for names, and no longer than a line. */
export const checkUserName = (name: string): string | null =>
  /^[a-z0-9][a-z0-9._@+-]{0,62}$/.test(name)
    ? null
    : 'A user name has 1 to 63 characters of a-z, 0-9, ".", "_", "@", "+" and "-", and begins with a letter or digit';

/** Guessing is slowed down, so length is what counts. */
const PASSWORD = { minimum: 12, maximum: 256 } as const;

export const checkPassword = (password: string): string | null =>
  password.length < PASSWORD.minimum || password.length > PASSWORD.maximum
    ? `A password has ${PASSWORD.minimum} to ${PASSWORD.maximum} characters`
    : null;

/** Without vowels and digits: no words, and nothing to mix up. 20^8 of them. */
const CODE_LETTERS = 'BCDFGHJKLMNPQRSTVWXZ';
const CODE_LENGTH = 8;

/** From random bytes; those that would favour some letters are passed over. Null when there were too few. */
export function makeUserCode(random: Uint8Array): string | null {
  const fair = 256 - (256 % CODE_LETTERS.length);
  const letters = Array.from(random)
    .filter((byte) => byte < fair)
    .slice(0, CODE_LENGTH)
    .map((byte) => CODE_LETTERS[byte % CODE_LETTERS.length]);
  return letters.length < CODE_LENGTH ? null : letters.join('');
}

/** As people read it: `BCDF-GHJK`. */
export const showUserCode = (code: string): string => `${code.slice(0, 4)}-${code.slice(4)}`;

/** As they type it, in any case, with or without the hyphen; null for what is none. */
export function parseUserCode(text: string): string | null {
  const code = text.toUpperCase().replace(/[\s-]/g, '');
  return code.length === CODE_LENGTH && [...code].every((letter) => CODE_LETTERS.includes(letter)) ? code : null;
}
