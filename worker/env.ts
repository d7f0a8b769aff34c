/** What the runtime gives the Worker, and the variables parsed from it. */
import { z } from 'zod';
import type { Cluster } from './objects/cluster.ts';
import type { Links } from './objects/links.ts';
import type { Stream } from './objects/stream.ts';

export interface Env {
  CLUSTER: DurableObjectNamespace<Cluster>;
  LINKS: DurableObjectNamespace<Links>;
  STREAM: DurableObjectNamespace<Stream>;
  /** Cloudflare and Miniflare: R2. */
  IMAGES_R2?: R2Bucket;
  /** Self-hosted: workerd's disk service. */
  IMAGES_DISK?: Fetcher;
  /** Self-hosted: sqld as a service binding, so that the Worker needs no open network. */
  DB?: Fetcher;
  /** A queue in front of it, which writes go through. */
  DB_WRITE?: Fetcher;
  /** Self-hosted: a network that reaches private addresses too, for webhooks that an administrator lets lead there. */
  PRIVATE_NETWORK?: Fetcher;
  LIBSQL_URL: string;
  /** A replica of the database near by: reads that only look go there. */
  LIBSQL_READ_URL?: string;
  DB_READ?: Fetcher;
  LIBSQL_AUTH_TOKEN?: string;
  /** At least 32 bytes, base64: signs session tokens. */
  SIGNING_SECRET: string;
  PUBLIC_ADDRESSES: string;
  SERVER_CERTIFICATE?: string;
  LINK_SHARDS?: string;
  LOG_LEVEL?: string;
}

const Vars = z.object({
  publicAddresses: z.string().transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  ),
  serverCertificate: z.string(),
  linkShards: z.coerce.number().int().min(1).max(64),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']),
});
export type Vars = z.infer<typeof Vars>;

const parsed = new WeakMap<Env, Vars>();

/** Read once for each `env`. Throws a ZodError that names the variable. */
export function parseVars(env: Env): Vars {
  const known = parsed.get(env);
  if (known !== undefined) return known;
  const vars = Vars.parse({
    publicAddresses: env.PUBLIC_ADDRESSES,
    serverCertificate: env.SERVER_CERTIFICATE ?? '',
    linkShards: env.LINK_SHARDS ?? '1',
    logLevel: env.LOG_LEVEL ?? 'info',
  });
  parsed.set(env, vars);
  return vars;
}
