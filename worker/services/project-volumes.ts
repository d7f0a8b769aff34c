/**
 * Whose custom volumes a project has. Without the volumes feature it has the default project's: what it makes is there, and
 * its instances have those as disks. The feature changes only while a project is empty, so this holds as long as it has any
 * instance.
 */
import { forbidden } from '#protocol/errors.ts';
import { volumeDisks } from '#worker/domain/instance-devices.ts';
import { featureProject } from '#worker/domain/project.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { findProject, listProjects } from '#worker/state/projects.ts';
import type { Authorized, Context } from './context.ts';

export async function volumeProject(ctx: Context, name: string): Promise<string> {
  const project = name === 'default' ? undefined : await findProject(ctx.db, name);
  return project === undefined ? name : featureProject(project, 'storage.volumes');
}

/** The same for making or changing one. Throws 403 when the caller may not change what the project only borrows. */
export async function writableVolumeProject(ctx: Authorized, name: string): Promise<string> {
  const owner = await volumeProject(ctx, name);
  const { projects } = ctx.principal;
  if (projects !== null && !projects.includes(owner)) throw forbidden();
  return owner;
}

/** Of several projects, each once; null stays all of them. */
export async function volumeProjects(ctx: Context, names: readonly string[] | null): Promise<string[] | null> {
  if (names === null) return null;
  if (names.every((name) => name === 'default')) return [...names];
  const known = (await listProjects(ctx.db)).filter(({ name }) => names.includes(name));
  return [...new Set(known.map((project) => featureProject(project, 'storage.volumes')))];
}

/** Says in instances' specs whose volumes their disks are. Reads only when one of another project has such a disk. */
export async function nameVolumeProjects(ctx: Context, commands: readonly NewCommand[]): Promise<void> {
  const specs = commands
    .flatMap(({ params }) => ('spec' in params ? [params.spec] : []))
    .filter(({ project, expandedDevices }) => project !== 'default' && volumeDisks(expandedDevices).length > 0);
  if (specs.length === 0) return;
  const projects = new Map((await listProjects(ctx.db)).map((project) => [project.name, project]));
  for (const spec of specs) {
    const project = projects.get(spec.project);
    const owner = project === undefined ? spec.project : featureProject(project, 'storage.volumes');
    if (owner !== spec.project) spec.volumeProject = owner;
  }
}
