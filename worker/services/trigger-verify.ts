/** Whether a delivery was signed by who knows the trigger's secret, and when. Nothing of its payload is looked at before. */
import { Webhook } from 'standardwebhooks';
import { timingSafeEqual } from '#worker/lib/crypto.ts';
import type { TriggerRow } from '#worker/state/triggers.ts';
import { secretOf, type TriggerContext } from './triggers.ts';
import { readWebhookSecret } from './webhook-secret.ts';

export interface IncomingHeaders {
  get(name: string): string | null;
}

/** `key` tells the delivery from all others and cannot be chosen by who only repeats one. */
export type Verdict = { ok: true; key: string } | { ok: false; reason: string };

const refuse = (reason: string): Verdict => ({ ok: false, reason });

/** A dot would blur where the id ends in what is signed. */
const DELIVERY_ID = /^[A-Za-z0-9_:-]{1,255}$/;

/** The sender's own name of the delivery, for people; empty when it has none that can be shown. */
export function deliveryIdOf(row: Pick<TriggerRow, 'scheme'>, headers: IncomingHeaders): string {
  const id = headers.get(row.scheme === 'github' ? 'x-github-delivery' : 'webhook-id') ?? '';
  return DELIVERY_ID.test(id) ? id : '';
}

/** Never throws for what a sender may send. */
export async function verifyDelivery(
  ctx: TriggerContext,
  row: TriggerRow,
  headers: IncomingHeaders,
  body: Uint8Array<ArrayBuffer>,
): Promise<Verdict> {
  return row.scheme === 'github' ? verifyGithub(ctx, row, headers, body) : verifyStandard(ctx, row, headers, body);
}

/** The secret, and the one before it while it is still good. */
async function secretsOf(ctx: TriggerContext, row: TriggerRow): Promise<string[]> {
  const previous = row.previousUntil !== null && row.previousUntil > ctx.now() ? row.previousSecret : null;
  const sealed = previous === null ? [row.secret] : [row.secret, previous];
  return Promise.all(sealed.map((text) => ctx.sealer.open(text, secretOf(row.id))));
}

/** True when `timeMs` is further from now than the trigger allows, in either direction. */
export const isOutsideWindow = (ctx: TriggerContext, row: TriggerRow, timeMs: number): boolean =>
  !(Math.abs(Date.parse(ctx.now()) - timeMs) <= row.windowSeconds * 1000);

export const OUTSIDE_WINDOW = 'The timestamp is outside the allowed window';

async function verifyStandard(
  ctx: TriggerContext,
  row: TriggerRow,
  headers: IncomingHeaders,
  body: Uint8Array<ArrayBuffer>,
): Promise<Verdict> {
  const id = headers.get('webhook-id');
  const timestamp = headers.get('webhook-timestamp');
  const signatures = headers.get('webhook-signature');
  if (id === null || timestamp === null || signatures === null) return refuse('The delivery is not signed');
  if (!DELIVERY_ID.test(id)) return refuse('webhook-id is no identifier');
  if (!/^[1-9]\d{0,10}$/.test(timestamp)) return refuse('webhook-timestamp is no time');
  const text = decodeUtf8(body);
  if (text === null) return refuse('The signature does not match');
  const time = new Date(Number(timestamp) * 1000);
  const sent = signatures.split(' ').slice(0, 16);
  let matches = false;
  for (const secret of await secretsOf(ctx, row)) {
    const wanted = new Webhook(readWebhookSecret('standard', secret), { format: 'raw' }).sign(id, time, text);
    for (const signature of sent) if (timingSafeEqual(signature, wanted)) matches = true;
  }
  if (!matches) return refuse('The signature does not match');
  return isOutsideWindow(ctx, row, time.getTime()) ? refuse(OUTSIDE_WINDOW) : { ok: true, key: `id:${id}` };
}

/** GitHub signs the body alone, neither id nor time: a delivery is told by its body, which names what happened and when. */
async function verifyGithub(
  ctx: TriggerContext,
  row: TriggerRow,
  headers: IncomingHeaders,
  body: Uint8Array<ArrayBuffer>,
): Promise<Verdict> {
  const header = headers.get('x-hub-signature-256');
  if (header === null) return refuse('The delivery is not signed');
  let matches = false;
  for (const secret of await secretsOf(ctx, row)) {
    if (timingSafeEqual(header, `sha256=${await hmacHex(secret, body)}`)) matches = true;
  }
  if (!matches) return refuse('The signature does not match');
  return { ok: true, key: `sha256:${hex(await crypto.subtle.digest('SHA-256', body))}` };
}

async function hmacHex(secret: string, body: Uint8Array<ArrayBuffer>): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', new TextEncoder().encode(secret), algorithm, false, ['sign']);
  return hex(await crypto.subtle.sign('HMAC', key, body));
}

const hex = (buffer: ArrayBuffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Null for what is no UTF-8: its replacement characters would be signed in place of what was sent. */
export function decodeUtf8(body: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
}
