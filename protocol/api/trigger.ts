/** Bodies of `/1.0/triggers`: signed webhooks that launch instances. Tolerant as all bodies; rules beyond the shape live in `worker/domain`. */
import { z } from 'zod';
import { config, devices, flag, optional, text } from './common.ts';

const Value = z.union([z.string().max(1024), z.number(), z.boolean()]);

/** A place (`header` or `pointer`) and one test of what is there. */
export const TriggerConditionBody = z
  .object({
    header: optional(z.string()),
    pointer: optional(z.string()),
    equals: optional(Value),
    in: optional(z.array(Value).max(100)),
    contains: optional(Value),
    pattern: optional(z.string()),
  })
  .meta({ id: 'TriggerCondition', example: { pointer: '/action', equals: 'queued' } });

export const TriggerParameterBody = z
  .object({
    pointer: text(),
    type: text(),
    pattern: text(),
    maximum: optional(z.number().int()),
    default: optional(Value),
  })
  .meta({ id: 'TriggerParameter', example: { pointer: '/workflow_job/id', type: 'integer' } });

const conditions = z.array(TriggerConditionBody).max(32);
const parameters = z.record(z.string(), TriggerParameterBody);

/** As the body that creates an instance, with `{{parameter}}` where values go. */
const Template = z.object({
  name: text(),
  description: text(),
  source: z
    .object({ alias: text(), fingerprint: text() })
    .nullish()
    .transform((value) => value ?? { alias: '', fingerprint: '' }),
  profiles: z
    .array(z.string())
    .nullish()
    .transform((value) => value ?? null),
  config: config(),
  devices: devices(),
  ephemeral: flag(),
  target: text(),
});

const Limits = z.object({
  concurrency: optional(z.number().int()),
  per_hour: optional(z.number().int()),
  /** LXD's expiry expression: `2H`. */
  ttl: text(),
});

const writable = {
  description: text(),
  enabled: z
    .boolean()
    .nullish()
    .transform((value) => value ?? true),
  window_seconds: optional(z.number().int()),
  timestamp_pointer: text(),
  parameters: parameters.nullish().transform((value) => value ?? {}),
  launch: conditions.nullish().transform((value) => value ?? []),
  delete: conditions.nullish().transform((value) => value ?? []),
  instance: Template,
  limits: Limits.nullish().transform((value): z.infer<typeof Limits> => value ?? Limits.parse({})),
};

export const TriggerPut = z.object(writable).meta({ id: 'TriggerPut', description: 'The writable part of a trigger' });
export type TriggerPut = z.infer<typeof TriggerPut>;

export const TriggersPost = z.object({ name: text(), scheme: text(), secret: text(), ...writable }).meta({
  id: 'TriggersPost',
  description: 'A new trigger; without a secret one is made',
  example: {
    name: 'runner',
    scheme: 'github',
    parameters: { job: { pointer: '/workflow_job/id', type: 'integer' } },
    launch: [{ pointer: '/action', equals: 'queued' }],
    instance: { name: 'runner-{{job}}', source: { alias: 'debian/12' } },
    limits: { concurrency: 4, ttl: '2H' },
  },
});
export type TriggersPost = z.infer<typeof TriggersPost>;

/** What is absent stays. */
export const TriggerPatch = z
  .object({
    description: optional(z.string()),
    enabled: optional(z.boolean()),
    window_seconds: optional(z.number().int()),
    timestamp_pointer: optional(z.string()),
    parameters: optional(parameters),
    launch: optional(conditions),
    delete: optional(conditions),
    instance: optional(Template),
    limits: optional(Limits),
  })
  .meta({ id: 'TriggerPatch', description: 'Changes of a trigger' });
export type TriggerPatch = z.infer<typeof TriggerPatch>;

/** The old secret stays good for `keep_old_for` (an expiry expression; empty: not at all). */
export const TriggerSecretPost = z
  .object({ secret: text(), keep_old_for: text() })
  .meta({ id: 'TriggerSecretPost', description: 'A new secret', example: { keep_old_for: '1H' } });
export type TriggerSecretPost = z.infer<typeof TriggerSecretPost>;
