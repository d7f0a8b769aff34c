/**
 * How clients learn that they can log in, and when they must (lxd-api 8.5). A client that is logged in, or wants to be, sends
 * a bearer token, be it an empty one: answered 401, it refreshes or starts the device flow, and asks again.
 */
import { AppError, forbidden } from '#protocol/errors.ts';
import { loginHeaders } from '#worker/domain/oidc.ts';
import type { Context } from '#worker/services/context.ts';
import { readOidcMode } from '#worker/state/oidc.ts';
import type { Caller } from './auth.ts';
import { bearerKind } from './bearer.ts';

const TOKEN = /^Bearer(?:\s+(\S*))?\s*$/i;

/** What is not of the API has other ways to know who calls, if any. */
export const isOfApi = (path: string): boolean => path === '/1.0' || path.startsWith('/1.0/');

/** Bearer tokens of other kinds are not replaced by logging in. */
function wantsLogin(request: Request): boolean {
  const token = TOKEN.exec(request.headers.get('authorization') ?? '');
  if (token === null) return false;
  const kind = bearerKind(token[1] ?? '');
  return kind === null || kind === 'oidc';
}

const demandsLogin = ({ headers }: Request) =>
  headers.has('x-lxd-authenticated') || headers.has('x-incus-authenticated');

/**
 * The caller, unless it is a stranger that wants to be known: then throws 401 where there is a way to log in, and 403 for one
 * that would take no answer for strangers where there is none.
 */
export async function demandLogin(ctx: Context, request: Request, caller: Caller): Promise<Caller> {
  if (caller.trusted || !isOfApi(new URL(request.url).pathname)) return caller;
  const demands = demandsLogin(request);
  if (!demands && !wantsLogin(request)) return caller;
  if ((await readOidcMode(ctx.db)) !== null) throw new AppError('unauthorized', 'not authorized');
  if (demands) throw forbidden();
  return caller;
}

/** Says in a refusal where to log in. A database that is away does not keep the refusal back. */
export async function tellHowToLogIn(ctx: Context, request: Request, headers: Headers): Promise<void> {
  try {
    const { host } = new URL(request.url);
    const mode = await readOidcMode(ctx.db);
    for (const [name, value] of loginHeaders(mode, { addresses: ctx.vars.publicAddresses, host })) {
      headers.set(name, value);
    }
  } catch (error) {
    ctx.log.warn('oidc.challenge.failed', {}, error);
  }
}
