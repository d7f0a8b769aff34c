/** Profiles (lxd-api 5.7). A project without the profiles feature uses those of the default project. */
import type { ProfilePatch, ProfilePut, ProfilesPost } from '#protocol/api/profile.ts';
import { AppError, badRequest, conflict, failed, forbidden, notFound } from '#protocol/errors.ts';
import { checkProfileName } from '#protocol/names.ts';
import { dropEmptyOptions } from '#worker/domain/config.ts';
import { dropEmpty } from '#worker/domain/instance-config.ts';
import {
  checkProfile,
  checkReferences,
  checkRestrictedProfile,
  findUnsupported,
} from '#worker/domain/profile-validation.ts';
import { featureProject } from '#worker/domain/project.ts';
import { instanceUrl } from '#worker/state/instance-urls.ts';
import { listNetworks } from '#worker/state/networks.ts';
import { listPools } from '#worker/state/pools.ts';
import {
  deleteUnusedProfile,
  findProfile,
  insertProfile,
  listProfiles,
  listProfileUsers,
  type ProfileRow,
  type ProfileUser,
  renameProfile,
  updateProfile,
} from '#worker/state/profiles.ts';
import { findProject, listProjects } from '#worker/state/projects.ts';
import { lifecycle, makeChange, spread } from './changes.ts';
import type { Authorized } from './context.ts';
import { converge, planConvergence } from './profile-convergence.ts';

type Content = Pick<ProfileRow, 'config' | 'devices'>;

const NOTHING: Content = { config: {}, devices: {} };

export const profileUrl = (project: string, name: string) =>
  `/1.0/profiles/${encodeURIComponent(name)}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

export const profileToApi = (row: ProfileRow, users: readonly ProfileUser[]) => ({
  name: row.name,
  description: row.description,
  config: row.config,
  devices: row.devices,
  used_by: users
    .filter(({ profileProject, profile }) => profileProject === row.project && profile === row.name)
    .map(({ project, instance }) => instanceUrl(project, instance)),
});

/** What an ETag of a profile covers. */
export const profileEtagParts = (row: ProfileRow) => [row.config, row.description, row.devices];

/** The profiles that these projects (null: all) use, with their users. */
export async function listProfilesOf(ctx: Authorized, projects: string[] | null) {
  const known = await listProjects(ctx.db);
  const wanted = known.filter(({ name }) => projects === null || projects.includes(name));
  const owners = [...new Set(wanted.map((project) => featureProject(project, 'profiles')))];
  const [rows, users] = await Promise.all([listProfiles(ctx.db, owners), usersOf(ctx, owners, null)]);
  return { rows, users };
}

/** Throws `Profile not found`. */
export async function getProfile(ctx: Authorized, project: string, name: string): Promise<ProfileRow> {
  const row = await findProfile(ctx.db, await ownerOf(ctx, project), name);
  if (row === undefined) throw notFound('Profile');
  return row;
}

/** For showing it: LXD words the refusal of that one differently. */
export async function fetchProfile(ctx: Authorized, project: string, name: string): Promise<ProfileRow> {
  const row = await findProfile(ctx.db, await ownerOf(ctx, project), name);
  if (row === undefined) throw new AppError('not_found', 'Fetch profile: Profile not found');
  return row;
}

export const profileUsers = (ctx: Authorized, row: ProfileRow) => usersOf(ctx, [row.project], row.name);

export async function createProfile(ctx: Authorized, project: string, body: ProfilesPost): Promise<ProfileRow> {
  const refusal = checkProfileName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  const owner = await writableOwner(ctx, project);
  const content = await checkContent(ctx, body, NOTHING);
  const row = { project: owner, name: body.name, description: body.description, ...content };
  await refusingDuplicates(`Error inserting "${body.name}" into database: The profile already exists`, () =>
    makeChange(ctx, {
      writes: [insertProfile(ctx.db, row)],
      events: [lifecycle(ctx, 'profile-created', profileUrl('default', row.name), owner)],
    }),
  );
  return row;
}

/**
 * Replaces or merges. The members of all instances that use it are told: those that are there are waited for, the others are
 * told when they return. Throws `failed` with LXD's list of the instances that could not follow; the profile is changed then.
 */
export async function changeProfile(
  ctx: Authorized,
  row: ProfileRow,
  wanted: ProfilePut | ProfilePatch,
  mode: 'replace' | 'merge',
): Promise<void> {
  await writableOwner(ctx, row.project);
  const merged =
    mode === 'merge'
      ? { config: { ...row.config, ...wanted.config }, devices: { ...row.devices, ...wanted.devices } }
      : wanted;
  const content = await checkContent(ctx, merged, row);
  const description = wanted.description ?? row.description;
  const convergence = await planConvergence(ctx, { ...row, ...content }, row);
  const writes = [updateProfile(ctx.db, row.project, row.name, { description, ...content }), ...convergence.writes];
  const events = [lifecycle(ctx, 'profile-updated', profileUrl('default', row.name), row.project)];
  await converge(ctx, row.project, { writes, events, commands: convergence.commands });
}

export async function renameProfileTo(ctx: Authorized, row: ProfileRow, newName: string): Promise<void> {
  await writableOwner(ctx, row.project);
  if (row.name === 'default') throw forbidden('The "default" profile cannot be renamed');
  const refusal = checkProfileName(newName);
  if (refusal !== null) throw badRequest(refusal);
  const event = lifecycle(ctx, 'profile-renamed', profileUrl('default', newName), row.project, { old_name: row.name });
  await refusingDuplicates(`Name "${newName}" already in use`, () =>
    makeChange(ctx, { writes: renameProfile(ctx.db, row.project, row.name, newName), events: [event] }),
  );
}

/** Throws 500 `Profile is currently in use`, LXD's answer, also when an instance took it a moment ago. */
export async function removeProfile(ctx: Authorized, row: ProfileRow): Promise<void> {
  await writableOwner(ctx, row.project);
  if (row.name === 'default') throw forbidden('The "default" profile cannot be deleted');
  const { project, name } = row;
  const event = lifecycle(ctx, 'profile-deleted', profileUrl('default', name), project);
  const { deleted, ...followup } = await deleteUnusedProfile(ctx.db, { project, name, event, now: ctx.now() });
  if (!deleted) throw failed('Profile is currently in use');
  await spread(ctx, followup);
}

async function ownerOf(ctx: Authorized, project: string): Promise<string> {
  const row = await findProject(ctx.db, project);
  if (row === undefined) throw notFound('Project');
  return featureProject(row, 'profiles');
}

/** A restricted caller may use the default project's profiles through its own project, but not change them. */
async function writableOwner(ctx: Authorized, project: string): Promise<string> {
  const owner = await ownerOf(ctx, project);
  const { projects } = ctx.principal;
  if (projects !== null && !projects.includes(owner)) throw forbidden();
  return owner;
}

/** A restricted caller sees only its own instances among the users. */
async function usersOf(ctx: Authorized, owners: readonly string[], name: string | null): Promise<ProfileUser[]> {
  const users = await listProfileUsers(ctx.db, owners, name);
  const { projects } = ctx.principal;
  return projects === null ? users : users.filter(({ project }) => projects.includes(project));
}

async function checkContent(ctx: Authorized, wanted: Content, previous: Content): Promise<Content> {
  const content = { config: dropEmpty(wanted.config), devices: dropEmptyOptions(wanted.devices) };
  const [pools, networks] = await Promise.all([listPools(ctx.db), listNetworks(ctx.db)]);
  const known = {
    pools: new Set(pools.map(({ name }) => name)),
    networks: new Set(networks.map(({ name }) => name)),
  };
  const refusal = checkProfile(content) ?? checkReferences(content.devices, known);
  if (refusal !== null) throw badRequest(refusal);
  if (ctx.principal.projects !== null) {
    const restriction = checkRestrictedProfile(content, known.networks, previous);
    if (restriction !== null) throw forbidden(restriction);
  }
  const unsupported = findUnsupported(content, previous);
  if (unsupported !== null) throw badRequest(unsupported);
  return content;
}

async function refusingDuplicates(refusal: string, change: () => Promise<void>): Promise<void> {
  try {
    await change();
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    throw conflict(refusal, error);
  }
}
