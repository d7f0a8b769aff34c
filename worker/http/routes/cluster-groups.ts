/** Cluster groups (lxd-api 5.3). */
import { ClusterGroupPatch, ClusterGroupPost, ClusterGroupPut, ClusterGroupsPost } from '#protocol/api/cluster.ts';
import {
  type ClusterGroup,
  changeGroup,
  clusterGroupUrl,
  createGroup,
  deleteGroup,
  getGroup,
  listGroups,
  renameGroup,
} from '#worker/services/cluster-groups.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/cluster/groups/:name';
const read = { tag: 'cluster', answer: 'sync', access: 'trusted', scope: 'server' } as const;
const write = { ...read, access: 'admin' } as const;

const tagOf = (group: ClusterGroup) => etag([group.name, group.description, group.members]);

export function clusterGroupRoutes(app: App): void {
  route(app, { ...read, method: 'get', path: '/1.0/cluster/groups', summary: 'Groups' }, async ({ ctx, recursion }) => {
    const groups = await listGroups(ctx);
    return sync(recursion > 0 ? groups : groups.map(({ name }) => clusterGroupUrl(name)));
  });
  route(
    app,
    {
      ...write,
      method: 'post',
      path: '/1.0/cluster/groups',
      summary: 'Create a group',
      body: ClusterGroupsPost,
      answer: 'created',
    },
    async ({ ctx, body }) => {
      await createGroup(ctx, body);
      return created(clusterGroupUrl(body.name));
    },
  );
  route(app, { ...read, method: 'get', path, summary: 'One group' }, async ({ ctx, params }) => {
    const group = await getGroup(ctx, params.name);
    return sync(group, { etag: await tagOf(group) });
  });
  route(
    app,
    { ...write, method: 'put', path, summary: 'Replace a group', body: ClusterGroupPut },
    async ({ ctx, params, body, ifMatch }) => {
      const group = await getGroup(ctx, params.name);
      checkIfMatch(ifMatch, await tagOf(group));
      await changeGroup(ctx, group, body);
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'patch', path, summary: 'Change a group', body: ClusterGroupPatch },
    async ({ ctx, params, body, ifMatch }) => {
      const group = await getGroup(ctx, params.name);
      checkIfMatch(ifMatch, await tagOf(group));
      await changeGroup(ctx, group, body);
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'post', path, summary: 'Rename a group', body: ClusterGroupPost, answer: 'created' },
    async ({ ctx, params, body }) => {
      await renameGroup(ctx, params.name, body.name);
      return created(clusterGroupUrl(body.name));
    },
  );
  route(app, { ...write, method: 'delete', path, summary: 'Delete a group' }, async ({ ctx, params }) => {
    await deleteGroup(ctx, params.name);
    return sync();
  });
}
