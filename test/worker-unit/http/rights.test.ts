/**
 * Every route with every kind of caller. Requests are such that nothing happens when they are let through: names that are not
 * there, bodies that are no JSON. So a refusal for who calls, 403 `not authorized`, is told from all that comes after it.
 */
import { describe, expect, it } from 'vitest';
import { addRoutes, createApp } from '#worker/http/app.ts';
import { type Api, type Client, makeClient, openApi, trust } from './api.ts';
import { type Right, ROUTE_RIGHTS, type RouteRight } from './rights-table.ts';

/** What a request names: `all` by `all-projects`. */
type Place = 'own' | 'other' | 'all';

const PLACES = ['own', 'other', 'all'] as const;
const QUERY: Record<Place, string> = { own: '?project=blog', other: '', all: '?all-projects=true' };
const WHERE: Record<Place, string> = { own: 'in its project', other: 'in another project', all: 'in all projects' };

interface Caller {
  name: string;
  as?: Client;
  bearer?: string;
  /** What it gets into. */
  trusted: boolean;
  metrics?: boolean;
  readOnly?: boolean;
  confined?: boolean;
}

async function gatherCallers(api: Api): Promise<Caller[]> {
  await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
  const client = async (name: string, fields: Parameters<typeof trust>[2] | null, days = 30) => {
    const made = await makeClient(name, days);
    if (fields !== null) await trust(api.db, made, fields);
    return made;
  };
  const token = async (body: Record<string, unknown>) => {
    const answer = await api.call('POST', '/1.0/auth/tokens', { body: { name: 'x', ...body } });
    return answer.body.metadata as { id: string; token: string };
  };
  const revoked = await token({});
  await api.call('DELETE', `/1.0/auth/tokens/${revoked.id}`);
  const blog = { restricted: true, projects: ['blog'] };
  const projects = ['blog'];
  const old = await client('old@host', {}, 1);
  const short = await token({ expiry: '1d' });
  const callers: Caller[] = [
    { name: 'nobody', trusted: false },
    { name: 'an unknown certificate', as: await client('eve@host', null), trusted: false },
    { name: 'an expired certificate', as: old, trusted: false },
    {
      name: 'a certificate for metrics',
      as: await client('p@host', { type: 'metrics' }),
      trusted: false,
      metrics: true,
    },
    { name: 'a certificate', as: api.admin, trusted: true },
    { name: 'a restricted certificate', as: await client('b@host', blog), trusted: true, confined: true },
    { name: 'a bearer token that is none', bearer: 'a.b.c', trusted: false },
    { name: 'a revoked token', bearer: revoked.token, trusted: false },
    { name: 'an expired token', bearer: short.token, trusted: false },
    { name: 'a token for metrics', bearer: (await token({ scope: 'metrics' })).token, trusted: false, metrics: true },
    { name: 'a full token', bearer: (await token({})).token, trusted: true },
    { name: 'a restricted token', bearer: (await token({ projects })).token, trusted: true, confined: true },
    { name: 'a read-only token', bearer: (await token({ scope: 'read-only' })).token, trusted: true, readOnly: true },
    {
      name: 'a restricted read-only token',
      bearer: (await token({ scope: 'read-only', projects })).token,
      trusted: true,
      readOnly: true,
      confined: true,
    },
  ];
  api.clock.now = new Date(Date.now() + 2 * 86_400_000).toISOString();
  return callers;
}

function isAdmitted(caller: Caller, route: RouteRight, place: Place): boolean {
  if (caller.readOnly && route.changes) return false;
  const { trusted, confined = false } = caller;
  const by: Record<Right, boolean> = {
    anyone: true,
    own: true,
    metrics: trusted || caller.metrics === true,
    trusted,
    project: trusted && !(confined && place !== 'own'),
    listing: trusted && !(confined && place === 'other'),
    admin: trusted && !confined,
  };
  return by[route.right];
}

/** Another address for each request, so that failures of one do not count for the next. */
let requests = 0;

async function isDenied(api: Api, caller: Caller, { method, path }: RouteRight, place: Place): Promise<boolean> {
  requests += 1;
  const name = path.startsWith('/1.0/projects/') && caller.confined ? 'blog' : 'nope';
  const there = path.replace(/:(\w+)(\{[^}]*\})?/g, name);
  const { status, body } = await api.call(method, `${there}${QUERY[place]}`, {
    as: caller.as ?? 'nobody',
    headers: {
      'cf-connecting-ip': `10.${requests >> 16}.${(requests >> 8) & 255}.${requests & 255}`,
      ...(caller.bearer === undefined ? {} : { authorization: `Bearer ${caller.bearer}` }),
    },
    // What an untrusted caller may send there is judged by its body.
    ...(method === 'GET' || method === 'HEAD' ? {} : { body: path === '/1.0/certificates' ? {} : '{' }),
  });
  return status === 403 && body?.error === 'not authorized';
}

describe('who may use a route', () => {
  it('is declared for every route there is, and for no other', () => {
    const named = (method: string, path: string) => `${method} ${path.replace(/\{[^}]*\}/g, '')}`;
    const there = createApp().routes.filter(({ method, path }) => method !== 'ALL' && !path.includes('*'));
    const declared = ROUTE_RIGHTS.map(({ method, path }) => named(method, path));
    expect([...new Set(there.map(({ method, path }) => named(method, path)))].sort()).toEqual(declared.sort());
  });

  it('is who it is declared for, and nobody else', async () => {
    const api = await openApi(addRoutes);
    const callers = await gatherCallers(api);
    const wrong: string[] = [];
    for (const route of ROUTE_RIGHTS.filter(({ right }) => right !== 'own')) {
      for (const caller of callers) {
        for (const place of caller.confined ? PLACES : (['own'] as const)) {
          const denied = await isDenied(api, caller, route, place);
          if (denied !== isAdmitted(caller, route, place)) continue;
          wrong.push(
            `${route.method} ${route.path}: ${caller.name} ${WHERE[place]} is ${denied ? 'denied' : 'admitted'}`,
          );
        }
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);
});
