/**
 * Networks in a project that has the networks feature. Bridges belong to the default project and are lent to those without
 * the feature; one with it has only networks of its own, and there is no type of network that it could have.
 */
import { badRequest, notFound } from '#protocol/errors.ts';
import { featureProject } from '#worker/domain/project.ts';
import { findProject } from '#worker/state/projects.ts';
import type { Context } from './context.ts';

/** Whether the project sees the cluster's networks. */
export async function hasNetworks(ctx: Context, name: string): Promise<boolean> {
  const project = name === 'default' ? undefined : await findProject(ctx.db, name);
  return project === undefined || featureProject(project, 'networks') === 'default';
}

/** Throws `Network not found` in a project that does not see them. */
export async function requireNetworks(ctx: Context, project: string): Promise<void> {
  if (!(await hasNetworks(ctx, project))) throw notFound('Network');
}

/** Throws LXD's refusal to create one there. */
export async function requireNetworkProject(ctx: Context, project: string): Promise<void> {
  if (!(await hasNetworks(ctx, project))) throw badRequest('Network type does not support non-default projects');
}
