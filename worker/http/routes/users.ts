/** `/1.0/auth/users`: people who log in by the built-in OIDC issuer (extension `longshore_users`). */
import { UserPatch, UsersPost } from '#protocol/api/user.ts';
import { changeUser, createUser, getUser, removeUser, usersOf, userToApi, userUrl } from '#worker/services/users.ts';
import { created, sync } from '../envelope.ts';
import { type App, route } from '../route.ts';

const all = '/1.0/auth/users';
const path = '/1.0/auth/users/:name';
const common = { tag: 'auth', answer: 'sync', access: 'admin', scope: 'server' } as const;

export function userRoutes(app: App): void {
  route(app, { ...common, method: 'get', path: all, summary: 'Users' }, async ({ ctx, recursion }) => {
    const rows = await usersOf(ctx);
    return sync(rows.map((row) => (recursion > 0 ? userToApi(row) : userUrl(row.name))));
  });
  route(
    app,
    {
      ...common,
      method: 'post',
      path: all,
      summary: 'Add a user; a password that is made is shown this once',
      body: UsersPost,
      answer: 'created',
    },
    async ({ ctx, body }) => {
      const { row, madePassword } = await createUser(ctx, body);
      const shown = userToApi(row);
      return created(userUrl(row.name), madePassword === null ? shown : { ...shown, password: madePassword });
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One user' }, async ({ ctx, params }) =>
    sync(userToApi(await getUser(ctx, params.name))),
  );
  route(
    app,
    { ...common, method: 'patch', path, summary: "Change a user's rights or password", body: UserPatch },
    async ({ ctx, params, body }) => {
      await changeUser(ctx, await getUser(ctx, params.name), body);
      return sync();
    },
  );
  route(app, { ...common, method: 'delete', path, summary: 'Remove a user' }, async ({ ctx, params }) => {
    await removeUser(ctx, await getUser(ctx, params.name));
    return sync();
  });
}
