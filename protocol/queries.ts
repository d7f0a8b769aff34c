/**
 * Questions to one member, for what only the host knows at this moment, and requests to open a stream. They are not
 * journaled and change nothing durable by themselves: the HTTP request that asks waits for the answer.
 */
import { z } from 'zod';
import { InstanceRef, VolumeRef } from './commands.ts';
import { InstanceReport } from './inventory.ts';

export const FileType = z.enum(['file', 'directory', 'symlink']);

export const Lease = z.object({
  hostname: z.string(),
  hwaddr: z.string(),
  address: z.string(),
  type: z.enum(['static', 'dynamic', 'gateway']),
});
export type Lease = z.infer<typeof Lease>;

export const QUERIES = {
  'instance.state': { params: InstanceRef, result: InstanceReport },
  'instance.log': {
    params: InstanceRef.extend({ file: z.string().max(255) }),
    /** At most the last 64 KiB, as text. */
    result: z.object({ text: z.string() }),
  },
  'pool.resources': {
    params: z.object({ pool: z.string() }),
    result: z.object({
      space: z.object({ usedBytes: z.number(), totalBytes: z.number() }),
      inodes: z.object({ used: z.number(), total: z.number() }),
    }),
  },
  /** `usedBytes` null: only a walk through it could tell. */
  'volume.state': {
    params: z.object({ pool: z.string(), volume: VolumeRef }),
    result: z.object({ usedBytes: z.number().nullable() }),
  },
  'network.state': {
    params: z.object({ network: z.string() }),
    /** LXD's network state object, snake_case as the API shows it. */
    result: z.record(z.string(), z.unknown()),
  },
  'network.leases': { params: z.object({ network: z.string() }), result: z.object({ leases: z.array(Lease) }) },
  /**
   * The answer says that the file is open, and its content goes over the stream (`protocol/stream.ts`); or, where there is
   * no content to carry (a directory made, anything deleted), that it is done.
   */
  'file.open': {
    params: InstanceRef.extend({
      /** Null when there is no content to carry. */
      streamId: z.string().nullable(),
      action: z.enum(['get', 'put', 'delete']),
      path: z.string().max(4096),
      put: z
        .object({
          type: FileType,
          mode: z.number().int().nullable(),
          uid: z.number().int().nullable(),
          gid: z.number().int().nullable(),
          write: z.enum(['overwrite', 'append']),
        })
        .nullable(),
    }),
    result: z.object({}),
  },
  /** Sends all that the host has by `PUT /agent/recovery`; the answer says that it was taken there. */
  'host.inventory': { params: z.object({}), result: z.object({}) },
  /** The answer says that the stream is connected: SFTP goes over it, from the client to the host and back. */
  'sftp.open': { params: InstanceRef.extend({ streamId: z.string() }), result: z.object({}) },
} as const satisfies Record<string, { params: z.ZodType; result: z.ZodType }>;

export type QueryName = keyof typeof QUERIES;
export type QueryParams<N extends QueryName> = z.infer<(typeof QUERIES)[N]['params']>;
export type QueryResult<N extends QueryName> = z.infer<(typeof QUERIES)[N]['result']>;
export const QUERY_NAMES = Object.keys(QUERIES) as [QueryName, ...QueryName[]];
