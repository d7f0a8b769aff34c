/** The app with its built-in issuer, as a program and a person's browser see it. */
import type { Env } from '#worker/env.ts';
import { createBase } from '#worker/http/base.ts';
import { oidcRoutes } from '#worker/http/routes/oidc.ts';
import { oidcLoginRoutes } from '#worker/http/routes/oidc-login.ts';
import { profileRoutes } from '#worker/http/routes/profiles.ts';
import { serverRoutes } from '#worker/http/routes/server.ts';
import { userRoutes } from '#worker/http/routes/users.ts';
import { type Api, openApi } from '../api.ts';

const HOST = '192.0.2.9:8443';
export const ISSUER = `https://${HOST}/issuer`;
export const PASSWORD = 'correct horse battery';

export interface World extends Api {
  env: Env;
  /** A request without a certificate; `form` is posted. */
  send(path: string, options?: { form?: Record<string, string>; headers?: Record<string, string> }): Promise<Response>;
  addUser(name: string, more?: Record<string, unknown>): Promise<void>;
}

export async function openIssuer(): Promise<World> {
  const api = await openApi((app) => userRoutes(app));
  const app = createBase(() => api.ctx);
  for (const add of [serverRoutes, profileRoutes, userRoutes, oidcRoutes, oidcLoginRoutes]) add(app);
  const env = { SIGNING_SECRET: Buffer.alloc(32, 7).toString('base64') } as Env;
  return Object.assign(api, {
    env,
    send: async (path: string, { form, headers }: { form?: Record<string, string>; headers?: HeadersInit } = {}) => {
      const request = new Request(`http://${HOST}${path}`, {
        headers: { 'cf-connecting-ip': '203.0.113.5', ...headers },
        ...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
      });
      return app.fetch(request, env);
    },
    addUser: async (name: string, more: Record<string, unknown> = {}) => {
      const { status } = await api.call('POST', '/1.0/auth/users', { body: { name, password: PASSWORD, ...more } });
      if (status !== 201) throw new Error(`Adding ${name} answered ${status}`);
    },
  });
}

export interface Device {
  device_code: string;
  user_code: string;
  verification_uri_complete: string;
}

/** Of answers that are not LXD's envelopes, mostly. */
export const jsonOf = async (answer: Response) =>
  (await answer.json()) as { access_token: string; id_token: string; error?: string; metadata?: unknown };

const CLIENT = { client_id: 'longshore' };

export const askForLogin = async (world: World): Promise<Device> =>
  (await world.send('/issuer/device', { form: { ...CLIENT, scope: 'openid offline_access' } })).json();

export const fetchLogin = (world: World, device: Device): Promise<Response> =>
  world.send('/issuer/token', {
    form: {
      ...CLIENT,
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: device.device_code,
    },
  });

export const refresh = (world: World, refreshToken: string): Promise<Response> =>
  world.send('/issuer/token', { form: { ...CLIENT, grant_type: 'refresh_token', refresh_token: refreshToken } });

export const bear = (world: World, token: string, path: string): Promise<Response> =>
  world.send(path, { headers: { authorization: `Bearer ${token}` } });

/** What a browser keeps of a page. */
export interface Page {
  status: number;
  text: string;
  cookie: string;
  form: string;
}

export async function look(response: Response, before = ''): Promise<Page> {
  const text = await response.text();
  return {
    status: response.status,
    text,
    cookie: response.headers.get('set-cookie')?.split(';')[0] ?? before,
    form: /name="form" value="([^"]*)"/.exec(text)?.[1] ?? '',
  };
}

export const openPage = async (world: World, device: Device): Promise<Page> => {
  const { pathname, search } = new URL(device.verification_uri_complete);
  return look(await world.send(pathname + search));
};

/** Sends the login form of `from`. */
export const logIn = async (
  world: World,
  from: Page,
  fields: { code: string; name: string; password: string },
): Promise<Page> =>
  look(
    await world.send('/issuer/login', {
      form: { form: from.form, user_code: fields.code, name: fields.name, password: fields.password },
      headers: { cookie: from.cookie },
    }),
    from.cookie,
  );

export const decide = async (world: World, from: Page, decision: 'allow' | 'deny'): Promise<Page> =>
  look(
    await world.send('/issuer/login/decision', {
      form: { form: from.form, decision },
      headers: { cookie: from.cookie },
    }),
    from.cookie,
  );

/** The whole way of one program. */
export async function obtainTokens(
  world: World,
  name: string,
): Promise<{ access_token: string; refresh_token: string }> {
  const device = await askForLogin(world);
  const first = await openPage(world, device);
  await decide(world, await logIn(world, first, { code: device.user_code, name, password: PASSWORD }), 'allow');
  return (await fetchLogin(world, device)).json();
}
