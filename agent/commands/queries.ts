/** Query name → answer. A query without an answer does not compile. */

import type { InstanceRef } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { hostVolumeName } from '#protocol/names.ts';
import { QUERIES, type QueryName, type QueryParams, type QueryResult } from '#protocol/queries.ts';
import type { InstanceRoot } from '../drivers/instance/driver.ts';
import { type Carry, openTransfer } from '../streams/files.ts';
import { serveSftp } from '../streams/sftp/session.ts';
import type { Host } from './host.ts';
import { getRecord, refOf, statusOf, volumeName } from './instances.ts';

type Answer<N extends QueryName> = (host: Host, params: QueryParams<N>) => Promise<QueryResult<N>>;

const ANSWERS: { [N in QueryName]: Answer<N> } = {
  'instance.state': async (host, params) => {
    getRecord(host, params);
    return host.instances.report(refOf(params));
  },
  'instance.log': async (host, params) => {
    getRecord(host, params);
    return { text: await host.instances.readLog(refOf(params), params.file) };
  },
  'pool.resources': async (host, { pool }) => {
    const { usedBytes, totalBytes, inodes } = await (await host.pools.open(pool)).poolUsage();
    return { space: { usedBytes, totalBytes }, inodes };
  },
  'volume.state': async (host, { pool, volume }) => {
    const storage = await host.pools.open(pool);
    return { usedBytes: await storage.custom.usage(hostVolumeName(volume.project, volume.name)) };
  },
  'network.state': (host, { network }) => host.networks.state(network),
  'network.leases': async (host, { network }) => ({ leases: await host.networks.leases(network) }),
  'file.open': openFile,
  'sftp.open': openSftp,
  'host.inventory': async (host) => {
    await host.tellInventory();
    return {};
  },
};

/** Answers a query; throws what the drivers throw, `bad_request` for params that cannot be read. */
export async function answerQuery(host: Host, name: QueryName, params: unknown): Promise<unknown> {
  return answer(host, name, params);
}

function answer<N extends QueryName>(host: Host, name: N, params: unknown): Promise<QueryResult<N>> {
  const parsed = QUERIES[name].params.safeParse(params);
  if (!parsed.success) throw badRequest(`Cannot read the params of ${name}`, parsed.error);
  // The schema of this very name has just accepted the params.
  return ANSWERS[name](host, parsed.data as QueryParams<N>);
}

async function openRoot(host: Host, ref: InstanceRef): Promise<InstanceRoot> {
  const record = getRecord(host, ref);
  const storage = await host.pools.open(record.pool);
  const stopped = (await statusOf(host, ref)) === 'Stopped';
  // Mounted until its next stop: a second transfer at the same time must not lose it.
  const volumePath = stopped ? await storage.mountInstanceVolume(volumeName(ref)) : '';
  return host.instances.openRoot(ref, volumePath);
}

/** The answer says that the stream is connected; requests and answers go over it until the client leaves. */
async function openSftp(host: Host, params: QueryParams<'sftp.open'>): Promise<QueryResult<'sftp.open'>> {
  const ref = refOf(params);
  getRecord(host, ref);
  const stream = await host.openStream(params.streamId);
  const deps = { log: host.log, openRoot: () => openRoot(host, ref) };
  void serveSftp(deps, stream).catch((err) => host.log.info('sftp.ended', { err }));
  return {};
}

/** The answer says that the file is open, or that all is done; the content goes over the stream meanwhile. */
async function openFile(host: Host, params: QueryParams<'file.open'>): Promise<QueryResult<'file.open'>> {
  const root = await openRoot(host, refOf(params));
  let carry: Carry | null = null;
  try {
    carry = openTransfer(root, params, params.streamId === null ? null : host.openContent(params.streamId));
  } finally {
    if (carry === null) root.close();
  }
  void carry?.()
    .catch((err) => host.log.info('file.transfer.failed', { action: params.action, err }))
    .finally(() => root.close());
  return {};
}
