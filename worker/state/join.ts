/** The batch that makes a host a member: it takes the token and writes everything else only if it did. */
import { sql } from 'drizzle-orm';
import type { NetworkSpec, PoolSpec } from '#protocol/commands.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { Config } from '#worker/domain/config.ts';
import { SUCCESS } from '#worker/domain/operation.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { memberUrl } from './members.ts';
import { runPlan } from './plan.ts';
import { takeToken, tokenTakenBy } from './tokens.ts';

export interface Admission {
  operationId: string;
  member: string;
  publicKey: string;
  version: string;
  protocol: number;
  resources: HostResources;
  /** What the member is to have of each pool and network that exists already. */
  pools: { spec: PoolSpec; memberConfig: Config }[];
  networks: {
    spec: NetworkSpec;
    memberConfig: Config;
    preferredIpv4: string | null;
    preferredIpv6: string | null;
  }[];
  now: string;
}

/**
 * Inserts the member with its share of pools and networks, ends the token's operation and reports the member added.
 * `admitted` is false, and nothing is written, when the token was taken, cancelled or expired before. Throws `conflict`
 * when the name or the key is a member's already.
 */
export async function admitMember(db: Db, admission: Admission): Promise<Followup & { admitted: boolean }> {
  const { operationId, member, publicKey, resources, now } = admission;
  const guard = tokenTakenBy(operationId, publicKey, now);
  const followup = await runPlan(db, { now, guard }, (plan) => {
    plan.write(takeToken(operationId, publicKey, now));
    plan.write(sql`insert into members (name, public_key, roles, groups, config, architecture, status_reason,
        status_changed_at, agent_version, protocol, resources, created_at)
      select ${member}, ${publicKey}, '["database"]', '["default"]', '{}', ${resources.architecture},
        'The agent has not connected yet', ${now}, ${admission.version}, ${admission.protocol},
        ${JSON.stringify(resources)}, ${now} where ${guard}`);
    plan.event({
      action: 'cluster-member-added',
      source: memberUrl(member),
      project: null,
      location: member,
    });
    for (const { spec, memberConfig } of admission.pools) {
      plan.write(sql`insert into storage_pool_members (pool, member, config, status)
        select ${spec.name}, ${member}, ${JSON.stringify(memberConfig)}, 'Pending' where ${guard}`);
      plan.command({ member, name: 'pool.create', params: { pool: spec } }, null);
    }
    for (const { spec, memberConfig, preferredIpv4, preferredIpv6 } of admission.networks) {
      plan.write(sql`insert into network_members (network, member, config, status)
        select ${spec.name}, ${member}, ${JSON.stringify(memberConfig)}, 'Pending' where ${guard}`);
      plan.command({ member, name: 'network.create', params: { network: spec, preferredIpv4, preferredIpv6 } }, null);
    }
    plan.write(
      sql`update operations set status = ${SUCCESS}, updated_at = ${now} where id = ${operationId} and ${guard}`,
    );
    // What the host was trusted by until it had a key of its own.
    plan.write(sql`delete from certificates where type = 'server' and name = ${member} and ${guard}`);
    plan.report(operationId);
  });
  return { ...followup, admitted: followup.events.length > 0 };
}
