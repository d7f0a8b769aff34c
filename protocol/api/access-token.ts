/** Bodies of `/1.0/auth/tokens`: bearer tokens for tools that have no client certificate. */
import { z } from 'zod';
import { text } from './common.ts';

export const AccessTokensPost = z
  .object({
    name: text(),
    /** `full`, `read-only` or `metrics`; `full` when empty. */
    scope: text(),
    /** Confines the token to these; absent: all of them, and the server itself. */
    projects: z
      .array(z.string())
      .nullish()
      .transform((value) => value ?? null),
    /** How long it is good, as LXD writes it (`1H`, `30d`); 30 days when empty. */
    expiry: text(),
  })
  .meta({
    id: 'AccessTokensPost',
    description: 'A new bearer token, which only this answer shows',
    example: { name: 'ci', scope: 'full', projects: ['ci'], expiry: '30d' },
  });
export type AccessTokensPost = z.infer<typeof AccessTokensPost>;
