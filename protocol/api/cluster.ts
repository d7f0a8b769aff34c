/** Bodies of the cluster endpoints (lxd-api 5.3). */
import { z } from 'zod';
import { config, flag, optional, strings, text } from './common.ts';

/** A member-specific value that a joiner brings for a pool or network. */
export const MemberConfigEntry = z.object({ entity: text(), name: text(), key: text(), value: text() });
export type MemberConfigEntry = z.infer<typeof MemberConfigEntry>;

export const ClusterPut = z
  .object({
    server_name: text(),
    enabled: flag(),
    member_config: z
      .array(MemberConfigEntry)
      .nullish()
      .transform((value) => value ?? []),
    cluster_address: text(),
    cluster_certificate: text(),
    server_address: text(),
    cluster_password: text(),
    cluster_token: text(),
  })
  .meta({ id: 'ClusterPut', description: 'Bootstrap, join or leave' });
export type ClusterPut = z.infer<typeof ClusterPut>;

export const ClusterMembersPost = z
  .object({ server_name: text() })
  .meta({ id: 'ClusterMembersPost', description: 'A request for a join token', example: { server_name: 'node3' } });
export type ClusterMembersPost = z.infer<typeof ClusterMembersPost>;

export const ClusterMemberPut = z
  .object({ roles: strings(), failure_domain: text(), description: text(), config: config(), groups: strings() })
  .meta({ id: 'ClusterMemberPut', description: 'The writable part of a member' });
export type ClusterMemberPut = z.infer<typeof ClusterMemberPut>;

export const ClusterMemberPatch = z
  .object({
    roles: optional(z.array(z.string())),
    failure_domain: optional(z.string()),
    description: optional(z.string()),
    config: config(),
    groups: optional(z.array(z.string())),
  })
  .meta({ id: 'ClusterMemberPatch', description: 'Changes of a member; config is merged' });
export type ClusterMemberPatch = z.infer<typeof ClusterMemberPatch>;

export const ClusterMemberPost = z
  .object({ server_name: text() })
  .meta({ id: 'ClusterMemberPost', description: 'A new name for a member' });
export type ClusterMemberPost = z.infer<typeof ClusterMemberPost>;

export const ClusterMemberStatePost = z
  .object({ action: text(), mode: text() })
  .meta({ id: 'ClusterMemberStatePost', description: 'Evacuate or restore', example: { action: 'evacuate' } });
export type ClusterMemberStatePost = z.infer<typeof ClusterMemberStatePost>;

export const ClusterGroupsPost = z
  .object({ name: text(), description: text(), members: strings() })
  .meta({ id: 'ClusterGroupsPost', description: 'A new cluster group' });
export type ClusterGroupsPost = z.infer<typeof ClusterGroupsPost>;

export const ClusterGroupPut = z
  .object({ description: text(), members: strings() })
  .meta({ id: 'ClusterGroupPut', description: 'The writable part of a cluster group' });
export type ClusterGroupPut = z.infer<typeof ClusterGroupPut>;

export const ClusterGroupPatch = z
  .object({ description: optional(z.string()), members: optional(z.array(z.string())) })
  .meta({ id: 'ClusterGroupPatch', description: 'Changes of a cluster group' });
export type ClusterGroupPatch = z.infer<typeof ClusterGroupPatch>;

export const ClusterGroupPost = z
  .object({ name: text() })
  .meta({ id: 'ClusterGroupPost', description: 'A new name for a cluster group' });
export type ClusterGroupPost = z.infer<typeof ClusterGroupPost>;
