/** `/1.0/auth/tokens`: bearer tokens for tools without a client certificate (extension `longshore_tokens`). */
import { AccessTokensPost } from '#protocol/api/access-token.ts';
import { signToken } from '#worker/lib/access-token.ts';
import {
  accessTokens,
  accessTokenToApi,
  accessTokenUrl,
  getAccessToken,
  issueAccessToken,
  revokeAccessToken,
} from '#worker/services/access-tokens.ts';
import { created, sync } from '../envelope.ts';
import { type App, route } from '../route.ts';

const all = '/1.0/auth/tokens';
const path = '/1.0/auth/tokens/:id';
const common = { tag: 'auth', answer: 'sync', access: 'admin', scope: 'server' } as const;

export function accessTokenRoutes(app: App): void {
  route(app, { ...common, method: 'get', path: all, summary: 'Bearer tokens' }, async ({ ctx, recursion }) => {
    const rows = await accessTokens(ctx);
    return sync(rows.map((row) => (recursion > 0 ? accessTokenToApi(row) : accessTokenUrl(row.id))));
  });
  route(
    app,
    {
      ...common,
      method: 'post',
      path: all,
      summary: 'Issue a bearer token; it is shown this once',
      body: AccessTokensPost,
      answer: 'created',
    },
    async ({ ctx, env, body }) => {
      const { row, token } = await issueAccessToken(ctx, (...claims) => signToken(env, ...claims), body);
      return created(accessTokenUrl(row.id), { ...accessTokenToApi(row), token });
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One bearer token' }, async ({ ctx, params }) =>
    sync(accessTokenToApi(await getAccessToken(ctx, params.id))),
  );
  route(app, { ...common, method: 'delete', path, summary: 'Revoke a bearer token' }, async ({ ctx, params }) => {
    await revokeAccessToken(ctx, await getAccessToken(ctx, params.id));
    return sync();
  });
}
