/** `/1.0/networks` (lxd-api 5.6, 12.4, 12.5). */
import { NetworkPatch, NetworkPut, NetworksPost } from '#protocol/api/network.ts';
import { badRequest } from '#protocol/errors.ts';
import { createNetwork } from '#worker/services/network-create.ts';
import {
  type ApiNetwork,
  changeNetwork,
  getLeases,
  getNetwork,
  getNetworkState,
  getNetworks,
  removeNetwork,
} from '#worker/services/networks.ts';
import { hasNetworks, requireNetworkProject, requireNetworks } from '#worker/services/project-networks.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const ALL = '/1.0/networks';
const ONE = '/1.0/networks/:name';

const urlOf = (name: string) => `${ALL}/${encodeURIComponent(name)}`;
const tagOf = (network: ApiNetwork) =>
  etag([network.name, network.managed, network.type, network.description, network.config]);

export function networkRoutes(app: App): void {
  route(
    app,
    { method: 'get', path: ALL, summary: 'List the networks', tag: 'networks', answer: 'sync', access: 'trusted' },
    async ({ ctx, project, recursion, target }) => {
      const networks = (await hasNetworks(ctx, project)) ? await getNetworks(ctx, target) : [];
      return sync(networks.map((network) => (recursion > 0 ? network : urlOf(network.name))));
    },
  );

  route(
    app,
    {
      method: 'post',
      path: ALL,
      summary: 'Define a network on a member, or create it on all',
      tag: 'networks',
      body: NetworksPost,
      answer: 'created',
      access: 'admin',
    },
    async ({ ctx, project, body, target }) => {
      await requireNetworkProject(ctx, project);
      await createNetwork(ctx, body, target);
      return created(urlOf(body.name));
    },
  );

  route(
    app,
    { method: 'get', path: ONE, summary: 'Get a network', tag: 'networks', answer: 'sync', access: 'trusted' },
    async ({ ctx, project, params, target }) => {
      await requireNetworks(ctx, project);
      const network = await getNetwork(ctx, params.name, target);
      return sync(network, { etag: await tagOf(network) });
    },
  );

  route(
    app,
    {
      method: 'put',
      path: ONE,
      summary: 'Replace the config of a network',
      tag: 'networks',
      body: NetworkPut,
      answer: 'sync',
      access: 'admin',
    },
    async ({ ctx, project, params, target, body, ifMatch }) => {
      await requireNetworks(ctx, project);
      checkIfMatch(ifMatch, await tagOf(await getNetwork(ctx, params.name, target)));
      await changeNetwork(ctx, params.name, { ...body, merge: false }, target);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'patch',
      path: ONE,
      summary: 'Change the config of a network',
      tag: 'networks',
      body: NetworkPatch,
      answer: 'sync',
      access: 'admin',
    },
    async ({ ctx, project, params, target, body, ifMatch }) => {
      await requireNetworks(ctx, project);
      checkIfMatch(ifMatch, await tagOf(await getNetwork(ctx, params.name, target)));
      await changeNetwork(ctx, params.name, { ...body, merge: true }, target);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'post',
      path: ONE,
      summary: 'Rename a network (refused, as in every LXD cluster)',
      tag: 'networks',
      answer: 'created',
      access: 'admin',
    },
    async ({ ctx, project, params }) => {
      await requireNetworks(ctx, project);
      await getNetwork(ctx, params.name, null);
      throw badRequest('Renaming clustered network not supported');
    },
  );

  route(
    app,
    { method: 'delete', path: ONE, summary: 'Delete a network', tag: 'networks', answer: 'sync', access: 'admin' },
    async ({ ctx, project, params }) => {
      await requireNetworks(ctx, project);
      await removeNetwork(ctx, params.name);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/networks/:name/state',
      summary: 'Get the state of a network on a member',
      tag: 'networks',
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, project, params, target }) => {
      await requireNetworks(ctx, project);
      return sync(await getNetworkState(ctx, params.name, target));
    },
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/networks/:name/leases',
      summary: 'List the DHCP leases of all members',
      tag: 'networks',
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, project, params }) => {
      await requireNetworks(ctx, project);
      return sync(await getLeases(ctx, params.name));
    },
  );
}
