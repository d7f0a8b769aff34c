/** Projects (lxd-api 5.7). */
import { ProjectPatch, ProjectPost, ProjectPut, ProjectsPost } from '#protocol/api/project.ts';
import { projectUsage } from '#worker/services/project-usage.ts';
import {
  changeProject,
  createProject,
  deleteProject,
  getProject,
  listVisibleProjects,
  projectEtagParts,
  projectToApi,
  projectUrl,
  projectUsers,
  renameProject,
} from '#worker/services/projects.ts';
import { async_, created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/projects/:name';
const read = { tag: 'projects', answer: 'sync', access: 'trusted', scope: 'server' } as const;
const write = { ...read, access: 'admin' } as const;

export function projectRoutes(app: App): void {
  route(app, { ...read, method: 'get', path: '/1.0/projects', summary: 'Projects' }, async ({ ctx, recursion }) => {
    const { rows, users } = await listVisibleProjects(ctx);
    return sync(recursion > 0 ? rows.map((row) => projectToApi(row, users)) : rows.map(({ name }) => projectUrl(name)));
  });
  route(
    app,
    {
      ...write,
      method: 'post',
      path: '/1.0/projects',
      summary: 'Create a project',
      body: ProjectsPost,
      answer: 'created',
    },
    async ({ ctx, body }) => {
      await createProject(ctx, body);
      return created(projectUrl(body.name));
    },
  );
  route(app, { ...read, method: 'get', path, summary: 'One project' }, async ({ ctx, params }) => {
    const row = await getProject(ctx, params.name);
    return sync(projectToApi(row, await projectUsers(ctx, row.name)), { etag: await etag(projectEtagParts(row)) });
  });
  route(
    app,
    { ...read, method: 'get', path: `${path}/state`, summary: 'Limits and usage of a project' },
    async ({ ctx, params }) => sync(await projectUsage(ctx, await getProject(ctx, params.name))),
  );
  route(
    app,
    { ...write, method: 'put', path, summary: 'Replace a project', body: ProjectPut },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getProject(ctx, params.name);
      checkIfMatch(ifMatch, await etag(projectEtagParts(row)));
      await changeProject(ctx, row, body, 'replace');
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'patch', path, summary: 'Change a project', body: ProjectPatch },
    async ({ ctx, params, body, ifMatch }) => {
      const row = await getProject(ctx, params.name);
      checkIfMatch(ifMatch, await etag(projectEtagParts(row)));
      await changeProject(ctx, row, body, 'merge');
      return sync();
    },
  );
  route(
    app,
    { ...write, method: 'post', path, summary: 'Rename a project', body: ProjectPost, answer: 'async' },
    async ({ ctx, params, body }) => async_(await renameProject(ctx, await getProject(ctx, params.name), body.name)),
  );
  route(app, { ...write, method: 'delete', path, summary: 'Delete a project' }, async ({ ctx, params }) => {
    await deleteProject(ctx, await getProject(ctx, params.name));
    return sync();
  });
}
