/** Profiles (lxd-api 5.7). */
import { ProfilePatch, ProfilePost, ProfilePut, ProfilesPost } from '#protocol/api/profile.ts';
import {
  changeProfile,
  createProfile,
  fetchProfile,
  getProfile,
  listProfilesOf,
  profileEtagParts,
  profileToApi,
  profileUrl,
  profileUsers,
  removeProfile,
  renameProfileTo,
} from '#worker/services/profiles.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/profiles/:name';
const common = { tag: 'profiles', answer: 'sync', access: 'trusted' } as const;

export function profileRoutes(app: App): void {
  route(
    app,
    { ...common, method: 'get', path: '/1.0/profiles', summary: 'Profiles', lists: true },
    async ({ ctx, projects, recursion }) => {
      const { rows, users } = await listProfilesOf(ctx, projects);
      if (recursion === 0) return sync(rows.map((row) => profileUrl(row.project, row.name)));
      return sync(rows.map((row) => profileToApi(row, users)));
    },
  );
  route(
    app,
    {
      ...common,
      method: 'post',
      path: '/1.0/profiles',
      summary: 'Create a profile',
      body: ProfilesPost,
      answer: 'created',
    },
    async ({ ctx, project, body }) => {
      const { name } = await createProfile(ctx, project, body);
      return created(profileUrl('default', name));
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One profile' }, async ({ ctx, project, params }) => {
    const row = await fetchProfile(ctx, project, params.name);
    return sync(profileToApi(row, await profileUsers(ctx, row)), { etag: await etag(profileEtagParts(row)) });
  });
  route(
    app,
    { ...common, method: 'put', path, summary: 'Replace a profile', body: ProfilePut },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getProfile(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(profileEtagParts(row)));
      await changeProfile(ctx, row, body, 'replace');
      return sync();
    },
  );
  route(
    app,
    { ...common, method: 'patch', path, summary: 'Change a profile', body: ProfilePatch },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getProfile(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(profileEtagParts(row)));
      await changeProfile(ctx, row, body, 'merge');
      return sync();
    },
  );
  route(
    app,
    { ...common, method: 'post', path, summary: 'Rename a profile', body: ProfilePost, answer: 'created' },
    async ({ ctx, project, params, body }) => {
      await renameProfileTo(ctx, await getProfile(ctx, project, params.name), body.name);
      return created(profileUrl('default', body.name));
    },
  );
  route(app, { ...common, method: 'delete', path, summary: 'Delete a profile' }, async ({ ctx, project, params }) => {
    await removeProfile(ctx, await getProfile(ctx, project, params.name));
    return sync();
  });
}
