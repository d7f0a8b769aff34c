/** Bodies of the trust store's endpoints (lxd-api 8.1, 8.2). */
import { z } from 'zod';
import { flag, optional, strings, text } from './common.ts';

export const CertificatesPost = z
  .object({
    name: text(),
    type: text(),
    restricted: flag(),
    projects: strings(),
    /** Base64 DER; empty for the caller's own certificate. */
    certificate: text(),
    password: text(),
    /** Newer clients put a token here instead of in `password`. */
    trust_token: text(),
    token: flag(),
  })
  .meta({ id: 'CertificatesPost', description: 'A certificate to trust, or a request for a token that adds one' });
export type CertificatesPost = z.infer<typeof CertificatesPost>;

export const CertificatePut = z
  .object({ name: text(), type: text(), restricted: flag(), projects: strings(), certificate: text() })
  .meta({ id: 'CertificatePut', description: 'The writable part of a trusted certificate' });
export type CertificatePut = z.infer<typeof CertificatePut>;

export const CertificatePatch = z
  .object({
    name: optional(z.string()),
    type: optional(z.string()),
    restricted: optional(z.boolean()),
    projects: optional(z.array(z.string())),
    certificate: optional(z.string()),
  })
  .meta({ id: 'CertificatePatch', description: 'Changes of a trusted certificate' });
export type CertificatePatch = z.infer<typeof CertificatePatch>;
