/**
 * The built-in OIDC issuer, for programs: what it is, and the device flow (RFC 8414, 8628). There is none until there is a
 * user, nor while another issuer is configured.
 */
import { AppError, notFound } from '#protocol/errors.ts';
import { BUILTIN_CLIENT, builtinIssuer, showUserCode } from '#worker/domain/oidc.ts';
import { createSealer } from '#worker/lib/seal.ts';
import type { Context } from '#worker/services/context.ts';
import { findPublicKey } from '#worker/services/oidc-key.ts';
import { askForLogin, grantTokens, type OAuthError } from '#worker/services/oidc-login.ts';
import { readOidcMode } from '#worker/state/oidc.ts';
import { readBytes } from '../body.ts';
import { type App, route } from '../route.ts';

/** Codes and tokens are a hundredth of this. */
const FORM_LIMIT_BYTES = 16 * 1024;

const tag = 'oidc';
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** Throws 404 where the built-in issuer is not the one. */
export async function requireBuiltin(ctx: Context): Promise<void> {
  if ((await readOidcMode(ctx.db))?.kind !== 'builtin') throw notFound('Issuer');
}

/** A posted form. Throws 413 when it is too large to be one of ours. */
export async function readForm(request: Request): Promise<URLSearchParams> {
  const bytes = await readBytes(request, FORM_LIMIT_BYTES);
  if (bytes === null) throw new AppError('too_large', `Request body is larger than ${FORM_LIMIT_BYTES} bytes`);
  return new URLSearchParams(new TextDecoder().decode(bytes));
}

const json = (body: unknown, status = 200) =>
  new Response(`${JSON.stringify(body)}\n`, {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  });
const refuse = (error: OAuthError) => json({ error }, error === 'invalid_client' ? 401 : 400);

/** A program has no secret: it names itself in the form, or as the user of Basic authentication. */
function clientOf(request: Request, form: URLSearchParams): string {
  const basic = /^Basic ([A-Za-z0-9+/]+=*)$/i.exec(request.headers.get('authorization') ?? '');
  if (basic?.[1] === undefined) return form.get('client_id') ?? '';
  try {
    return decodeURIComponent(atob(basic[1]).split(':')[0] ?? '');
  } catch {
    return '';
  }
}

const issuerOf = (ctx: Context, request: Request) => builtinIssuer(ctx.vars.publicAddresses, new URL(request.url).host);

export function oidcRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/issuer/.well-known/openid-configuration',
      summary: 'The built-in issuer',
      tag,
      answer: 'raw',
      access: 'secret',
    },
    async ({ ctx, request }) => {
      await requireBuiltin(ctx);
      const issuer = issuerOf(ctx, request);
      return json({
        issuer,
        jwks_uri: `${issuer}/keys`,
        device_authorization_endpoint: `${issuer}/device`,
        token_endpoint: `${issuer}/token`,
        grant_types_supported: [DEVICE_GRANT, 'refresh_token'],
        response_types_supported: [],
        scopes_supported: ['openid', 'offline_access'],
        subject_types_supported: ['public'],
        token_endpoint_auth_methods_supported: ['none'],
        id_token_signing_alg_values_supported: ['ES256'],
      });
    },
  );
  route(
    app,
    {
      method: 'get',
      path: '/issuer/keys',
      summary: "The built-in issuer's keys",
      tag,
      answer: 'raw',
      access: 'secret',
    },
    async ({ ctx }) => {
      await requireBuiltin(ctx);
      const key = await findPublicKey(ctx);
      return json({ keys: key === null ? [] : [key] });
    },
  );
  route(
    app,
    {
      method: 'post',
      path: '/issuer/device',
      summary: 'Ask for a login',
      tag,
      reads: { 'application/x-www-form-urlencoded': 'RFC 8628: client_id, scope' },
      answer: 'raw',
      access: 'secret',
    },
    async ({ ctx, request }) => {
      await requireBuiltin(ctx);
      const form = await readForm(request);
      if (clientOf(request, form) !== BUILTIN_CLIENT) return refuse('invalid_client');
      const { deviceCode, userCode, expiresIn, interval } = await askForLogin(ctx, ctx.principal.address);
      const page = `${issuerOf(ctx, request)}/login`;
      const shown = showUserCode(userCode);
      return json({
        device_code: deviceCode,
        user_code: shown,
        verification_uri: page,
        verification_uri_complete: `${page}?user_code=${shown}`,
        expires_in: expiresIn,
        interval,
      });
    },
  );
  route(
    app,
    {
      method: 'post',
      path: '/issuer/token',
      summary: 'Fetch a login, or refresh',
      tag,
      reads: { 'application/x-www-form-urlencoded': 'RFC 8628: grant_type, client_id, device_code or refresh_token' },
      answer: 'raw',
      access: 'secret',
    },
    async ({ ctx, env, request }) => {
      await requireBuiltin(ctx);
      const form = await readForm(request);
      if (clientOf(request, form) !== BUILTIN_CLIENT) return refuse('invalid_client');
      const granted = await grantTokens({ ...ctx, sealer: createSealer(env) }, issuerOf(ctx, request), form);
      return typeof granted === 'string' ? refuse(granted) : json(granted);
    },
  );
}
