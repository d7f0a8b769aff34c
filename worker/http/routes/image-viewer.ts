/** Image routes are public: who looks decides what is seen. */
import type { Viewer } from '#worker/services/images.ts';

interface Looking {
  ctx: { principal: { projects: string[] | null } };
  project: string;
  projects: string[] | null;
  trusted: boolean;
}

/** Who may not use the project sees its public images, as an untrusted caller does. */
export const viewerOf = ({ ctx, project, trusted }: Omit<Looking, 'projects'>): Viewer => {
  const { projects } = ctx.principal;
  return { project, publicOnly: !trusted || (projects !== null && !projects.includes(project)) };
};

/** What a list covers: one project as `viewerOf` says, or with `all-projects` what is the caller's (untrusted: all public ones). */
export function listScopeOf(input: Looking): { scope: string[] | null; publicOnly: boolean } {
  const { projects, project, trusted } = input;
  if (projects?.length === 1 && projects[0] === project) {
    return { scope: [project], publicOnly: viewerOf(input).publicOnly };
  }
  return trusted ? { scope: projects, publicOnly: false } : { scope: null, publicOnly: true };
}
