/** The cluster, its members and their groups (lxd-api 5.3). */

import { z } from 'zod';
import {
  ClusterMemberPatch,
  ClusterMemberPost,
  ClusterMemberPut,
  ClusterMemberStatePost,
  ClusterMembersPost,
  ClusterPut,
} from '#protocol/api/cluster.ts';
import { upgradeMember } from '#worker/services/agent-release.ts';
import { describeCluster, refuseClusterChange } from '#worker/services/cluster.ts';
import { setMemberState } from '#worker/services/evacuate.ts';
import { deleteMember } from '#worker/services/member-remove.ts';
import { describeMemberState } from '#worker/services/member-state.ts';
import {
  changeMember,
  getMemberRow,
  listMemberRows,
  memberEtagParts,
  memberToApi,
  renameMember,
} from '#worker/services/members.ts';
import { issueJoinToken } from '#worker/services/tokens.ts';
import { async_, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { clusterGroupRoutes } from './cluster-groups.ts';

const path = '/1.0/cluster/members/:name';
const read = { tag: 'cluster', answer: 'sync', access: 'trusted', scope: 'server' } as const;
const write = { ...read, access: 'admin' } as const;

export function clusterRoutes(app: App): void {
  route(app, { ...read, method: 'get', path: '/1.0/cluster', summary: 'The cluster' }, async ({ ctx }) => {
    const cluster = await describeCluster(ctx);
    return sync(cluster, { etag: await etag([cluster.server_name, cluster.enabled]) });
  });
  route(
    app,
    { ...write, method: 'put', path: '/1.0/cluster', summary: 'Bootstrap, join or leave', body: ClusterPut },
    ({ body }) => refuseClusterChange(body),
  );
  route(
    app,
    { ...read, method: 'get', path: '/1.0/cluster/members', summary: 'Members' },
    async ({ ctx, recursion }) => {
      const rows = await listMemberRows(ctx);
      if (recursion === 0) return sync(rows.map(({ name }) => `/1.0/cluster/members/${encodeURIComponent(name)}`));
      return sync(rows.map((row) => memberToApi(row, ctx.now())));
    },
  );
  route(
    app,
    {
      ...write,
      method: 'post',
      path: '/1.0/cluster/members',
      summary: 'Make a join token',
      body: ClusterMembersPost,
      answer: 'async',
    },
    async ({ ctx, body }) => async_(await issueJoinToken(ctx, body.server_name)),
  );
  memberRoutes(app);
  clusterGroupRoutes(app);
}

function memberRoutes(app: App): void {
  route(app, { ...read, method: 'get', path, summary: 'One member' }, async ({ ctx, params }) => {
    const row = await getMemberRow(ctx, params.name);
    return sync(memberToApi(row, ctx.now()), { etag: await etag(memberEtagParts(row)) });
  });
  route(
    app,
    { ...write, method: 'put', path, summary: 'Replace a member’s settings', body: ClusterMemberPut },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getMemberRow(ctx, params.name);
      checkIfMatch(ifMatch, await etag(memberEtagParts(row)));
      await changeMember(ctx, row, body, 'replace');
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'patch', path, summary: 'Change a member’s settings', body: ClusterMemberPatch },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getMemberRow(ctx, params.name);
      checkIfMatch(ifMatch, await etag(memberEtagParts(row)));
      await changeMember(ctx, row, body, 'merge');
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'post', path, summary: 'Rename a member', body: ClusterMemberPost },
    async ({ ctx, params, body }) => {
      await renameMember(ctx, params.name, body.server_name);
      return sync();
    },
  );
  route(
    app,
    {
      ...write,
      method: 'delete',
      path,
      summary: 'Remove a member',
      query: z.object({ force: z.string().optional() }),
    },
    async ({ ctx, params, query }) => {
      await deleteMember(ctx, params.name, query.force === '1' || query.force === 'true');
      return sync();
    },
  );
  route(
    app,
    { ...read, method: 'get', path: `${path}/state`, summary: 'A member’s load, memory and storage' },
    async ({ ctx, params }) => sync(await describeMemberState(ctx, params.name)),
  );
  route(
    app,
    {
      ...write,
      method: 'post',
      path: `${path}/upgrade`,
      summary: 'Upgrade a member’s agent to the release that this control plane offers',
      answer: 'async',
    },
    async ({ ctx, params }) => async_(await upgradeMember(ctx, params.name)),
  );
  route(
    app,
    {
      ...write,
      method: 'post',
      path: `${path}/state`,
      summary: 'Evacuate or restore a member',
      body: ClusterMemberStatePost,
      answer: 'async',
    },
    async ({ ctx, params, body }) => async_(await setMemberState(ctx, params.name, body)),
  );
}
