/** Bodies of `/1.0/webhooks`: where lifecycle events are sent, signed. */
import { z } from 'zod';
import { flag, optional, strings, text } from './common.ts';

const enabled = z
  .boolean()
  .nullish()
  .transform((value) => value ?? true);

export const WebhooksPost = z
  .object({
    name: text(),
    description: text(),
    enabled,
    url: text(),
    /** Lifecycle actions; `instance-*` is a family, none is all. */
    actions: strings(),
    allow_private: flag(),
    secret: text(),
  })
  .meta({
    id: 'WebhooksPost',
    description: 'A new receiver of events; without a secret one is made',
    example: { name: 'chat', url: 'https://example.com/hook', actions: ['instance-*'] },
  });
export type WebhooksPost = z.infer<typeof WebhooksPost>;

export const WebhookPut = z
  .object({ description: text(), enabled, url: text(), actions: strings(), allow_private: flag() })
  .meta({ id: 'WebhookPut', description: 'The writable part of a receiver' });
export type WebhookPut = z.infer<typeof WebhookPut>;

export const WebhookPatch = z
  .object({
    description: optional(z.string()),
    enabled: optional(z.boolean()),
    url: optional(z.string()),
    actions: optional(z.array(z.string())),
    allow_private: optional(z.boolean()),
  })
  .meta({ id: 'WebhookPatch', description: 'Changes of a receiver' });
export type WebhookPatch = z.infer<typeof WebhookPatch>;
