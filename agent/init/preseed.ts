/**
 * LXD's preseed document. What LXD's guide and `lxd init` print is read as it is; a key that nobody knows is refused with its
 * path, since a value that has no effect is worse than an error.
 */
import { parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { badRequest } from '#protocol/errors.ts';

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const text = z
  .union([z.string(), z.number(), z.boolean(), z.null()])
  .optional()
  .transform((value) => (value == null ? '' : String(value)));
/** YAML's numbers and booleans are strings to the API. */
const config = z
  .record(z.string(), scalar.nullable())
  .nullish()
  .transform((value) => Object.fromEntries(Object.entries(value ?? {}).map(([key, one]) => [key, one ?? ''])));
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? []);

const StoragePool = z.strictObject({ name: z.string(), driver: text, description: text, config });
const Network = z.strictObject({
  name: z.string(),
  type: text,
  description: text,
  config,
  project: text,
  managed: z.boolean().optional(),
});
const Profile = z.strictObject({
  name: z.string(),
  description: text,
  config,
  devices: z
    .record(z.string(), config)
    .nullish()
    .transform((value) => value ?? {}),
});
const Project = z.strictObject({ name: z.string(), description: text, config });
const MemberConfigEntry = z.strictObject({
  entity: z.enum(['storage-pool', 'network']),
  name: z.string(),
  key: z.string(),
  value: text,
  description: text,
});
const Cluster = z.strictObject({
  server_name: text,
  enabled: z.boolean().optional(),
  member_config: list(MemberConfigEntry),
  cluster_address: text,
  cluster_certificate: text,
  cluster_certificate_path: text,
  server_address: text,
  cluster_password: text,
  cluster_token: text,
});
const Preseed = z.strictObject({
  config,
  storage_pools: list(StoragePool),
  networks: list(Network),
  profiles: list(Profile),
  projects: list(Project),
  cluster: Cluster.nullish().transform((value) => value ?? null),
});
export type Preseed = z.infer<typeof Preseed>;
export type PreseedPool = Preseed['storage_pools'][number];
export type PreseedCluster = NonNullable<Preseed['cluster']>;

export const EMPTY_PRESEED: Preseed = Preseed.parse({});
export const EMPTY_CLUSTER: PreseedCluster = Cluster.parse({});

/** Reads YAML. Throws `bad_request` that names the line of broken YAML, or the path of a key or value that is not good. */
export function parsePreseed(source: string): Preseed {
  const document = parseDocument(indentCertificates(source), { prettyErrors: true });
  const [broken] = document.errors;
  if (broken !== undefined) throw badRequest(`Failed to parse the preseed: ${broken.message.split('\n')[0]}`, broken);
  return toPreseed(document.toJS() ?? {});
}

/** The document as JSON; refuses as `parsePreseed`. */
export function toPreseed(input: unknown): Preseed {
  const parsed = Preseed.safeParse(input);
  if (!parsed.success) throw badRequest(`Failed to parse the preseed: ${describe(parsed.error)}`, parsed.error);
  return parsed.data;
}

/** The guide's certificates begin in the first column, which YAML does not allow within a mapping. Keeps the lines' numbers. */
const indentCertificates = (source: string): string =>
  source.replace(/"-----BEGIN CERTIFICATE-----[^"]*"/g, (quoted) => quoted.replace(/\n(?=[^\n])/g, '\n    '));

function describe(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      if (issue.code === 'unrecognized_keys') {
        return `unknown key ${issue.keys.map((key) => pathOf([...issue.path, key])).join(', ')}`;
      }
      return `${pathOf(issue.path) || 'the document'}: ${issue.message}`;
    })
    .join('; ');
}

/** `storage_pools[0].driver` */
const pathOf = (path: readonly PropertyKey[]) =>
  path.reduce<string>(
    (whole, part) =>
      typeof part === 'number' ? `${whole}[${part}]` : `${whole}${whole === '' ? '' : '.'}${String(part)}`,
    '',
  );

/** YAML that `parsePreseed` reads; empty cluster keys and sections that say nothing are left out, as `lxd init` does. */
export function renderPreseed(preseed: Preseed): string {
  const { cluster, ...node } = preseed;
  const kept = Object.entries(cluster ?? {}).filter(
    ([, value]) => value !== '' && !(Array.isArray(value) && !value.length),
  );
  const joining = cluster !== null && isJoining(cluster);
  return stringify(
    { ...(joining ? {} : node), ...(cluster === null ? {} : { cluster: Object.fromEntries(kept) }) },
    { lineWidth: 0, aliasDuplicateObjects: false },
  );
}

/** True for a cluster section that names a cluster that is there already. */
export const isJoining = (cluster: PreseedCluster): boolean =>
  cluster.cluster_address !== '' || cluster.cluster_token !== '';
