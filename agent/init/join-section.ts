/** A preseed's cluster section as a join, in all the forms that LXD's guides have had. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { badRequest } from '#protocol/errors.ts';
import { type MemberConfig, mergeMemberConfig } from '../join/member-config.ts';
import type { JoinRight } from '../join/right.ts';
import { parseAnyToken } from '../join/token.ts';
import { parseServerAddress } from '../link/address.ts';
import { readServerCertificate } from '../link/dial.ts';
import type { Preseed, PreseedCluster } from './preseed.ts';

export interface PreseedJoin {
  right: JoinRight;
  memberConfig: MemberConfig;
  expectedPools: { name: string; driver: string }[];
}

/**
 * The right to join and this host's own values. The control plane is judged by the certificate that the preseed brings, or by
 * the token. Throws `bad_request` with the key that is missing or wrong.
 */
export async function joinFromPreseed(preseed: Preseed): Promise<PreseedJoin> {
  const { cluster } = preseed;
  if (cluster === null) throw badRequest('The preseed has no cluster section');
  return {
    right: await rightOf(cluster),
    memberConfig: ownValues(preseed, cluster),
    expectedPools: [...preseed.storage_pools, ...driversOf(cluster)],
  };
}

async function rightOf(cluster: PreseedCluster): Promise<JoinRight> {
  // Stock programs hand a raw token on as the password.
  const token = cluster.cluster_token || (isToken(cluster.cluster_password) ? cluster.cluster_password : '');
  if (token !== '') return { kind: 'token', token };
  if (cluster.cluster_address === '') throw badRequest('cluster: cluster_token or cluster_address is needed');
  if (cluster.server_name === '') throw badRequest('cluster.server_name: how is this member to be called?');
  if (cluster.cluster_password === '') throw badRequest('cluster.cluster_password: the trust password is needed');
  const pinned = readPinned(cluster);
  if (pinned === null) throw badRequest('cluster.cluster_certificate: needed to know the right control plane');
  const { fingerprint } = await readServerCertificate(parseServerAddress(cluster.cluster_address));
  if (fingerprint !== pinned) {
    throw badRequest(
      `cluster.cluster_certificate: ${cluster.cluster_address} shows another one (fingerprint ${fingerprint})`,
    );
  }
  const server = { addresses: [cluster.cluster_address], fingerprint };
  return { kind: 'password', serverName: cluster.server_name, password: cluster.cluster_password, server };
}

function isToken(text: string): boolean {
  try {
    return parseAnyToken(text).server_name !== '';
  } catch {
    return false;
  }
}

/** SHA-256 of the certificate that the section brings, in itself or in a file; null when it brings none. */
function readPinned(cluster: PreseedCluster): string | null {
  const path = cluster.cluster_certificate_path;
  const pem = cluster.cluster_certificate || (path === '' ? '' : readText(path));
  if (pem === '') return null;
  return fingerprintOfPem(pem);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw badRequest(`cluster.cluster_certificate_path: cannot read ${path}`, cause);
  }
}

/** The guide's certificates have blank lines between their lines. Throws `bad_request` for what is none. */
export function fingerprintOfPem(pem: string): string {
  const base64 = /-----BEGIN CERTIFICATE-----([\s\S]*?)-----END CERTIFICATE-----/.exec(pem)?.[1] ?? pem;
  try {
    const { raw } = new X509Certificate(Buffer.from(base64.replace(/\s/g, ''), 'base64'));
    return createHash('sha256').update(raw).digest('hex');
  } catch (cause) {
    throw badRequest('cluster.cluster_certificate: not a certificate', cause);
  }
}

const POOL_KEYS = ['source', 'size', 'zfs.pool_name'];
const NETWORK_KEYS = ['bridge.external_interfaces'];

/** The guide's newest example tells a pool's driver among the host's own keys: it must be the cluster's. */
const driversOf = (cluster: PreseedCluster) =>
  cluster.member_config
    .filter(({ entity, key }) => entity === 'storage-pool' && key === 'driver')
    .map(({ name, value }) => ({ name, driver: value }));

/** The newer form lists them; the older one has whole pools and networks, of which these keys are the host's. */
function ownValues({ storage_pools, networks }: Preseed, cluster: PreseedCluster): MemberConfig {
  const from = (entity: 'storage-pool' | 'network', keys: string[], name: string, config: Record<string, string>) =>
    Object.entries(config)
      .filter(([key]) => keys.includes(key))
      .map(([key, value]) => ({ entity, name, key, value }));
  return mergeMemberConfig(
    storage_pools.flatMap((pool) => from('storage-pool', POOL_KEYS, pool.name, pool.config)),
    networks.flatMap((network) => from('network', NETWORK_KEYS, network.name, network.config)),
    cluster.member_config
      .filter(({ key }) => key !== 'driver')
      .map(({ entity, name, key, value }) => ({ entity, name, key, value })),
  );
}
