/** Outgoing webhooks: where they may lead, what they are told, when they are tried again. Pure. */
import ipaddr from 'ipaddr.js';

/** Names that mean this machine or its network wherever they are looked up. */
const PRIVATE_NAME = /(?:^|\.)(?:localhost|local|internal|home\.arpa|localdomain)\.?$/;

/**
 * Why events cannot be sent there, or null. Without `allowPrivate` only https to public addresses; a name that leads to a
 * private address is stopped where the connection is made, since what it means can change at any time.
 */
export function checkWebhookUrl(text: string, allowPrivate: boolean): string | null {
  const url = text.length <= 2048 ? parseUrl(text) : null;
  if (url === null) return 'Invalid webhook URL';
  if (url.username !== '' || url.password !== '')
    return 'A webhook URL cannot have credentials: the signature is the proof';
  if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:')) return 'A webhook URL must be https';
  if (allowPrivate || !isPrivateHost(url.hostname)) return null;
  return 'A webhook cannot lead to a private address unless an administrator allows it (allow_private)';
}

function parseUrl(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** Of a parsed `URL`, which has brought every way to write an IPv4 address into the usual one. */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  if (!ipaddr.isValid(host)) return PRIVATE_NAME.test(host) || !host.includes('.');
  return ipaddr.process(host).range() !== 'unicast';
}

/** Lifecycle actions, a family as `instance-*`. */
export const checkWebhookAction = (action: string): string | null =>
  /^[a-z][a-z-]{0,62}(?:\*)?$/.test(action) ? null : `Invalid lifecycle action "${action.slice(0, 64)}"`;

/** True when the webhook wants events of this action; one that names none wants all. */
export const wantsAction = (actions: readonly string[], action: string): boolean =>
  actions.length === 0 ||
  actions.some((wanted) => (wanted.endsWith('*') ? action.startsWith(wanted.slice(0, -1)) : action === wanted));

/** Seconds before the next attempt: at once again, then ever later, for a receiver that is away for a day. */
const DELAYS_S = [10, 60, 300, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200] as const;

/** When to try again after this many attempts, or null to give up. `random` in [0, 1) spreads receivers apart. */
export function retryDelayMs(attempts: number, random: number): number | null {
  const seconds = DELAYS_S[attempts - 1];
  return seconds === undefined ? null : Math.round(seconds * (1 + random / 5) * 1000);
}
