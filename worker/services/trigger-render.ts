/** Triggers and deliveries as the API shows them, and what bodies say as it is stored. Secrets are in neither. Pure. */
import type { TriggerPut } from '#protocol/api/trigger.ts';
import { badRequest } from '#protocol/errors.ts';
import { parseExpiry } from '#worker/domain/server-config.ts';
import type { TriggerCondition, TriggerLimits, TriggerParameter } from '#worker/domain/trigger.ts';
import { STRING_MAXIMUM, type TriggerDefinition, WINDOW_SECONDS } from '#worker/domain/trigger-check.ts';
import type { DeliveryRow, TriggerRow } from '#worker/state/triggers.ts';

export type WritableTrigger = TriggerPut;

type Stored = Omit<TriggerDefinition, 'scheme'> & Pick<TriggerRow, 'description' | 'enabled'>;

/** What a body asks for, as it is stored; not yet checked. Throws 400 for a life that is no expiry expression. */
export function readTrigger(body: WritableTrigger): Stored {
  const { instance, limits } = body;
  const { source, ...template } = instance;
  return {
    description: body.description,
    enabled: body.enabled,
    windowSeconds: body.window_seconds ?? WINDOW_SECONDS.usual,
    timestampPointer: body.timestamp_pointer,
    parameters: Object.fromEntries(
      Object.entries(body.parameters).map(([name, { pointer, type, pattern, maximum, default: fallback }]) => [
        name,
        {
          pointer,
          type: readType(name, type),
          pattern,
          maximum: maximum ?? (type === 'integer' ? Number.MAX_SAFE_INTEGER : STRING_MAXIMUM),
          fallback: fallback === undefined ? null : String(fallback),
        },
      ]),
    ),
    rules: { launch: body.launch.map(readCondition), delete: body.delete.map(readCondition) },
    template: { ...template, ...source },
    limits: {
      concurrency: limits.concurrency ?? null,
      perHour: limits.per_hour ?? null,
      ttlSeconds: readTtl(limits.ttl),
    },
  };
}

function readType(name: string, type: string): TriggerParameter['type'] {
  if (type === 'string' || type === 'integer' || type === 'boolean') return type;
  throw badRequest(`Parameter "${name.slice(0, 64)}": type must be string, integer or boolean`);
}

/** Without the tests that a body leaves out: stored is what was asked for. */
function readCondition({ header, ...rest }: TriggerPut['launch'][number]): TriggerCondition {
  const entries = Object.entries({ header: header?.toLowerCase(), ...rest });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function readTtl(text: string): TriggerLimits['ttlSeconds'] {
  if (text === '') return null;
  const ms = parseExpiry(text);
  if (ms === null) throw badRequest('limits.ttl is no expiry expression');
  return ms / 1000;
}

/** As an expiry expression that reads back as the same. */
function formatExpiry(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'H'],
    [Math.floor(seconds / 60) % 60, 'M'],
    [seconds % 60, 'S'],
  ] as const;
  return parts.flatMap(([count, unit]) => (count === 0 ? [] : [`${count}${unit}`])).join(' ');
}

/** The part that a PUT replaces: what an ETag covers. */
export function writableOf(row: TriggerRow): WritableTrigger {
  const { alias, fingerprint, ...template } = row.template;
  const { concurrency, perHour, ttlSeconds } = row.limits;
  return {
    description: row.description,
    enabled: row.enabled,
    window_seconds: row.windowSeconds,
    timestamp_pointer: row.timestampPointer,
    parameters: Object.fromEntries(
      Object.entries(row.parameters).map(([name, { fallback, ...parameter }]) => [
        name,
        { ...parameter, default: fallback ?? undefined },
      ]),
    ),
    launch: row.rules.launch.map(toBody),
    delete: row.rules.delete.map(toBody),
    instance: { ...template, source: { alias, fingerprint } },
    limits: {
      concurrency: concurrency ?? undefined,
      per_hour: perHour ?? undefined,
      ttl: ttlSeconds === null ? '' : formatExpiry(ttlSeconds),
    },
  };
}

const toBody = (condition: TriggerCondition): TriggerPut['launch'][number] => ({
  header: condition.header,
  pointer: condition.pointer,
  equals: condition.equals,
  in: condition.in,
  contains: condition.contains,
  pattern: condition.pattern,
});

/** `url` is where the sender delivers to. */
export const triggerToApi = (row: TriggerRow, addresses: readonly string[]) => ({
  name: row.name,
  project: row.project,
  scheme: row.scheme,
  ...writableOf(row),
  url: hookUrl(row.id, addresses),
  created_at: row.createdAt,
});

/** The public address; a bare path while the control plane does not know how it is reached. */
export const hookUrl = (id: string, [address]: readonly string[]): string =>
  address === undefined ? `/hooks/${id}` : `https://${address.replace(/:443$/, '')}/hooks/${id}`;

export const deliveryToApi = (row: DeliveryRow) => ({
  id: row.deliveryId,
  outcome: row.outcome,
  status_code: row.status,
  reason: row.reason,
  instance: row.instanceName,
  operation: row.operationId === '' ? '' : `/1.0/operations/${row.operationId}`,
  received_at: row.receivedAt,
});
