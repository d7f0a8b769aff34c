/** Projects (lxd-api 5.7, 10.11). Storage pools, networks and members belong to all of them. */
import type { ProjectPatch, ProjectPut, ProjectsPost } from '#protocol/api/project.ts';
import { AppError, badRequest, conflict, failed, forbidden, notFound } from '#protocol/errors.ts';
import { checkProjectName } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import { dropEmpty } from '#worker/domain/instance-config.ts';
import { changedFeatures, checkProjectConfig, withProjectDefaults } from '#worker/domain/project.ts';
import type { Followup } from '#worker/state/followup.ts';
import { insertProfile } from '#worker/state/profiles.ts';
import {
  defaultProfileDescription,
  deleteEmptyProject,
  listProjectUsers,
  type ProjectUser,
  renameEmptyProject,
  updateEmptyProject,
} from '#worker/state/project-users.ts';
import { findProject, insertProject, listProjects, type ProjectRow, updateProject } from '#worker/state/projects.ts';
import { lifecycle, locationOf, makeChange, spread } from './changes.ts';
import type { Authorized } from './context.ts';
import { startOperation } from './operations.ts';

export const projectUrl = (name: string) => `/1.0/projects/${encodeURIComponent(name)}`;

export const projectToApi = (row: ProjectRow, users: readonly ProjectUser[]) => ({
  name: row.name,
  description: row.description,
  config: row.config,
  used_by: users.filter(({ project }) => project === row.name).map(userUrl),
});

const userUrl = ({ project, kind, name }: ProjectUser) =>
  `/1.0/${kind}/${encodeURIComponent(name)}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

/** What an ETag of a project covers. */
export const projectEtagParts = (row: ProjectRow) => [row.description, row.config];

/** A restricted caller sees its own only. */
export async function listVisibleProjects(ctx: Authorized): Promise<{ rows: ProjectRow[]; users: ProjectUser[] }> {
  const [rows, users] = await Promise.all([listProjects(ctx.db), listProjectUsers(ctx.db, null)]);
  const { projects } = ctx.principal;
  return { rows: projects === null ? rows : rows.filter(({ name }) => projects.includes(name)), users };
}

/** Throws `Project not found`; 403 for one that a restricted caller may not see. */
export async function getProject(ctx: Authorized, name: string): Promise<ProjectRow> {
  const { projects } = ctx.principal;
  if (projects !== null && !projects.includes(name)) throw forbidden();
  const row = await findProject(ctx.db, name);
  if (row === undefined) throw notFound('Project');
  return row;
}

export const projectUsers = (ctx: Authorized, name: string) => listProjectUsers(ctx.db, name);

export async function createProject(ctx: Authorized, body: ProjectsPost): Promise<void> {
  const { name, description } = body;
  const refusal = checkProjectName(name);
  if (refusal !== null) throw badRequest(refusal);
  const config = dropEmpty(withProjectDefaults(body.config));
  checkConfig(config);
  const profile = { project: name, name: 'default', description: defaultProfileDescription(name) };
  const writes = isTrue(config['features.profiles'])
    ? [insertProfile(ctx.db, { ...profile, config: {}, devices: {} })]
    : [];
  await refusingDuplicates(name, () =>
    makeChange(ctx, {
      writes: [insertProject(ctx.db, { name, description, config }), ...writes],
      events: [lifecycle(ctx, 'project-created', projectUrl(name), name)],
    }),
  );
}

/** Replaces or merges. Features change only while the project is empty, those of `default` never. */
export async function changeProject(
  ctx: Authorized,
  row: ProjectRow,
  wanted: ProjectPut | ProjectPatch,
  mode: 'replace' | 'merge',
): Promise<void> {
  const config = dropEmpty(mode === 'merge' ? { ...row.config, ...wanted.config } : wanted.config);
  checkConfig(config);
  const { name } = row;
  const description = wanted.description ?? row.description;
  const event = lifecycle(ctx, 'project-updated', projectUrl(name), name);
  if (changedFeatures(row.config, config).length === 0) {
    await makeChange(ctx, { writes: [updateProject(ctx.db, name, { description, config })], events: [event] });
    return;
  }
  if (name === 'default') throw badRequest("You can't change the features of the default project");
  const ownProfiles = isTrue(config['features.profiles']);
  const outcome = await updateEmptyProject(ctx.db, { name, description, config, ownProfiles, event, now: ctx.now() });
  await settle(ctx, outcome, () => badRequest('Features can only be changed on empty projects'));
}

/** An operation, as in LXD, though it is done at once. */
export async function renameProject(ctx: Authorized, row: ProjectRow, newName: string) {
  const { name } = row;
  if (name === 'default') throw forbidden("The 'default' project cannot be renamed");
  const refusal = checkProjectName(newName);
  if (refusal !== null) throw badRequest(refusal);
  const event = lifecycle(ctx, 'project-renamed', projectUrl(newName), newName, { old_name: name });
  await refusingDuplicates(newName, async () => {
    const outcome = await renameEmptyProject(ctx.db, { name, newName, event, now: ctx.now() });
    await settle(ctx, outcome, () => badRequest('Only empty projects can be renamed'));
  });
  return startOperation(ctx, {
    operation: {
      project: '',
      class: 'task',
      description: 'Renaming project',
      resources: null,
      mayCancel: false,
      location: locationOf(ctx),
    },
    commands: [],
    converge: [],
  });
}

export async function deleteProject(ctx: Authorized, row: ProjectRow): Promise<void> {
  const { name } = row;
  if (name === 'default') throw forbidden("The 'default' project cannot be deleted");
  const event = lifecycle(ctx, 'project-deleted', projectUrl(name), name);
  const outcome = await deleteEmptyProject(ctx.db, { name, event, now: ctx.now() });
  await settle(ctx, outcome, () => failed('Only empty projects can be removed'));
}

async function settle(
  ctx: Authorized,
  { done, ...followup }: Followup & { done: boolean },
  refusal: () => AppError,
): Promise<void> {
  if (!done) throw refusal();
  await spread(ctx, followup);
}

function checkConfig(config: Record<string, string>): void {
  const refusal = checkProjectConfig(config);
  if (refusal !== null) throw badRequest(refusal);
}

async function refusingDuplicates(name: string, change: () => Promise<void>): Promise<void> {
  try {
    await change();
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    throw conflict(`Project "${name}" already exists`, error);
  }
}
