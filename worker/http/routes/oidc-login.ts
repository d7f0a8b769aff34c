/** The built-in OIDC issuer, for people: a page to log in and to allow a program to do so. */
import { z } from 'zod';
import { AppError } from '#protocol/errors.ts';
import { parseUserCode, showUserCode } from '#worker/domain/oidc.ts';
import { createSealer } from '#worker/lib/seal.ts';
import type { Authorized } from '#worker/services/context.ts';
import { checkLogin, decide, findWaiting } from '#worker/services/oidc-login.ts';
import { browserOf, openStep, rememberBrowser, sealStep } from '../login-form.ts';
import { decisionForm, loginForm, note, page } from '../login-page.ts';
import { type App, type RouteInput, route } from '../route.ts';
import { readForm, requireBuiltin } from './oidc.ts';

const common = { tag: 'oidc', answer: 'raw', access: 'secret' } as const;
const path = '/issuer/login';

const EXPIRED = 'This page has expired. Please try again.';
const NOT_WAITING = 'No program waits for this code. It may have waited too long: start the login again.';

type Asked = Pick<RouteInput<'', z.ZodObject, z.ZodType>, 'env' | 'request'> & { ctx: Authorized };

interface Again {
  userCode?: string;
  name?: string;
  refusal?: string;
  status?: number;
  retryAfterSeconds?: number | null;
}

/** The first page, again when something was wrong with what it brought. */
async function askToLogIn(
  { ctx, env, request }: Asked,
  { userCode = '', name = '', refusal = '', status = 200, retryAfterSeconds }: Again = {},
): Promise<Response> {
  const browser = browserOf(request);
  const form = await sealStep(createSealer(env), browser.id, ctx.now(), { step: 'login' });
  return page('Log in', loginForm({ form, userCode, name, refusal }), status, {
    ...(browser.isNew ? rememberBrowser(browser.id) : {}),
    ...(retryAfterSeconds ? { 'retry-after': String(retryAfterSeconds) } : {}),
  });
}

export function oidcLoginRoutes(app: App): void {
  route(
    app,
    {
      ...common,
      method: 'get',
      path,
      summary: 'Page to log in',
      query: z.object({ user_code: z.string().optional() }),
    },
    async ({ ctx, env, request, query }) => {
      await requireBuiltin(ctx);
      const code = parseUserCode(query.user_code ?? '');
      return askToLogIn({ ctx, env, request }, { userCode: code === null ? '' : showUserCode(code) });
    },
  );
  route(
    app,
    { ...common, method: 'post', path, summary: 'Log in, to be asked what to allow' },
    async ({ ctx, env, request }) => {
      await requireBuiltin(ctx);
      return logIn({ ctx, env, request });
    },
  );
  route(
    app,
    { ...common, method: 'post', path: `${path}/decision`, summary: 'Allow or deny a login' },
    async ({ ctx, env, request }) => {
      await requireBuiltin(ctx);
      return takeDecision({ ctx, env, request });
    },
  );
}

async function logIn(asked: Asked): Promise<Response> {
  const { ctx, env, request } = asked;
  const fields = await readForm(request);
  const [name, typed] = [fields.get('name') ?? '', fields.get('user_code') ?? ''];
  const sealer = createSealer(env);
  const browser = browserOf(request);
  const step = await openStep(sealer, browser.id, ctx.now(), fields.get('form') ?? '');
  if (step?.step !== 'login') return askToLogIn(asked, { refusal: EXPIRED, status: 400 });
  const again = { userCode: typed.slice(0, 16), name: name.slice(0, 63) };
  const userName = await passwordHolder(ctx, name, fields.get('password') ?? '');
  if (userName instanceof AppError) {
    const { message: refusal, status, retryAfterSeconds } = userName;
    return askToLogIn(asked, { ...again, refusal, status, retryAfterSeconds });
  }
  const userCode = parseUserCode(typed);
  const waiting = userCode === null ? undefined : await findWaiting(ctx, userCode);
  if (waiting === undefined) return askToLogIn(asked, { ...again, refusal: NOT_WAITING, status: 404 });
  const decision = { step: 'decide', userName, userCode: waiting.userCode } as const;
  const form = await sealStep(sealer, browser.id, ctx.now(), decision);
  const shown = { userName, userCode: showUserCode(waiting.userCode), address: waiting.address };
  return page('Allow this login?', decisionForm({ form, ...shown, askedAt: waiting.createdAt }));
}

/** The user's name; the refusal of a wrong password, or of any after too many of those. */
async function passwordHolder(ctx: Authorized, name: string, password: string): Promise<string | AppError> {
  try {
    return await checkLogin(ctx, { name, password, address: ctx.principal.address });
  } catch (error) {
    if (error instanceof AppError && (error.code === 'forbidden' || error.code === 'too_many')) return error;
    throw error;
  }
}

async function takeDecision(asked: Asked): Promise<Response> {
  const { ctx, env, request } = asked;
  const fields = await readForm(request);
  const step = await openStep(createSealer(env), browserOf(request).id, ctx.now(), fields.get('form') ?? '');
  if (step?.step !== 'decide') return askToLogIn(asked, { refusal: EXPIRED, status: 400 });
  const allow = fields.get('decision') === 'allow';
  if (!(await decide(ctx, step.userCode, { userName: step.userName, allow }))) {
    return page('Not done', note(NOT_WAITING), 409);
  }
  return allow
    ? page('Logged in', note('The program goes on by itself. You can close this page.'))
    : page('Denied', note('The program was not logged in. You can close this page.'));
}
