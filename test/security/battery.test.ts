/**
 * Every route of the app against everybody who must not, and against everything that nobody sends who means well. Routes
 * come from the app itself; what may be had without rights is listed here, so that a new one has to be put there on purpose.
 */
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyId } from '#worker/lib/session.ts';
import { bodyFor, HOSTILE_BODIES, HOSTILE_HEADERS, HOSTILE_METHODS, HOSTILE_PATHS, hostileQueries } from './attacks.ts';
import { makeCertificate, makeExpired } from './certificates.ts';
import { type Answered, each, faultOf, type Sender, type Sent, tried } from './client.ts';
import { type Plane, startPlane } from './plane.ts';
import { listRoutes, type RouteUnderTest } from './routes.ts';
import { existing, SECRET } from './world.ts';

/** What answers a stranger with more than a refusal, and why that is right. */
const OPEN = new Map([
  ['GET /', 'names the version of the API'],
  ['GET /1.0', 'the short form, as LXD shows it to anyone'],
  ['GET /1.0/images', 'public images only'],
  ['GET /1.0/images/aliases', 'names of public images only'],
  ['GET /healthz', 'for load balancers'],
  ['GET /readyz', 'for load balancers'],
]);
/** Pages and keys that are the same for everybody. */
const OPEN_PAGES = /^GET \/(docs|openapi\.json|\.well-known\/|issuer\/)/;

const routes = listRoutes();
let plane: Plane;
let admin: Sender;
const strangers = new Map<string, Sender>();

beforeAll(async () => {
  plane = await startPlane();
  const { dir } = plane;
  admin = plane.as(plane.admin);
  const unknown = await makeCertificate(dir, 'unknown');
  const expired = await makeExpired(dir, 'expired');
  await plane.trust(expired.certificate);
  const scraper = await makeCertificate(dir, 'scraper');
  await plane.trust(scraper.certificate, { type: 'metrics' });
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  const session = async (secret: string, audience: string, member: string, expires: string) =>
    new SignJWT({ key: await keyId(`key-of-${member}`) })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(member)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(expires)
      .sign(Buffer.from(secret, 'base64'));
  const own = plane.signingSecret;
  const foreign = Buffer.alloc(32, 7).toString('base64');
  const [, claims] = (await session(own, 'longshore-agent', 'm1', '1h')).split('.');
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`;
  const identities = {
    'no credentials': {},
    'an unknown certificate': unknown,
    'a trusted certificate that has expired': expired,
    'a certificate for metrics': scraper,
    'a garbage token': bearer('garbage'),
    'a token of our form with a foreign signature': bearer(await session(foreign, 'longshore-agent', 'm1', '1h')),
    'an expired token': bearer(await session(own, 'longshore-agent', 'm1', '-1h')),
    'a token for something else': bearer(await session(own, 'something-else', 'm1', '1h')),
    'a token without a signature': bearer(none),
    'a token of a member that is none': bearer(await session(own, 'longshore-agent', 'm9', '1h')),
    'an invented certificate header': { headers: { 'x-longshore-cf-blob': forgedBlob() } },
    'an invented local user': { headers: { 'x-longshore-local-user': 'root', 'x-longshore-member': 'm1' } },
    'basic credentials': { headers: { authorization: 'Basic cm9vdDpyb290' } },
  };
  for (const [name, identity] of Object.entries(identities)) strangers.set(name, plane.as(identity));
});
afterAll(async () => {
  await plane?.stop();
  console.log(`security battery: ${routes.length} routes, ${tried.requests} requests tried`);
});

const forgedBlob = () =>
  JSON.stringify({
    tlsClientAuth: { certPresented: '1', certFingerprintSHA256: 'ab'.repeat(32), certVerified: 'SUCCESS' },
  });

/** The request as somebody with rights would send it. */
const proper = (route: RouteUnderTest): Sent => ({
  method: route.method,
  path: existing(route.path),
  ...(['GET', 'HEAD'].includes(route.method) ? {} : { body: bodyFor(route) }),
});

/** Faults, each with the requests that showed it: one run tells everything. */
type Findings = Record<string, string[]>;
/** Of one fault: the rest is more of the same. */
const SHOWN = 5;

async function attack(
  sender: Sender,
  sent: readonly Sent[],
  judge: (sent: Sent, answer: Answered) => string | null = () => null,
): Promise<Findings> {
  const findings: Findings = {};
  await each(sent, async (request) => {
    const answer = await sender.send(request).catch((error: unknown) => String(error));
    const fault = typeof answer === 'string' ? answer : (faultOf(request.path, answer) ?? judge(request, answer));
    if (fault === null) return;
    // Ids differ from request to request.
    const kind = fault.replace(/[0-9a-f-]{36}/g, '<id>').slice(0, 160);
    findings[kind] ??= [];
    if (findings[kind].length >= SHOWN) return;
    findings[kind].push(
      `${request.method} ${request.path.slice(0, 120)} ${JSON.stringify(request.headers ?? {}).slice(0, 80)}`,
    );
  });
  return findings;
}

const tellsSecret = (_: Sent, { text }: Answered) => (text.includes(SECRET) ? `tells what is secret: ${text}` : null);

describe('without rights', () => {
  it('knows every route', () => {
    expect(routes.length).toBeGreaterThan(150);
    expect(routes.filter((route) => route.undocumented).map((route) => route.path)).toContain('/agent/join');
  });

  it('nobody gets anything from any route, and nothing is changed', async () => {
    const before = await plane.snapshot();
    const findings: Record<string, Findings> = {};
    for (const [who, sender] of strangers) {
      const byPath = new Map(routes.map((route) => [proper(route), route] as const));
      const found = await attack(sender, [...byPath.keys()], (sent, answer) => {
        const id = byPath.get(sent)?.id ?? '';
        const open = OPEN.has(id) || OPEN_PAGES.test(id) || (who.endsWith('for metrics') && id === 'GET /1.0/metrics');
        if (answer.status < 400 && !open) return `status ${answer.status}: ${answer.text}`;
        return tellsSecret(sent, answer);
      });
      if (Object.keys(found).length > 0) findings[who] = found;
    }
    expect(findings).toEqual({});
    expect(await plane.snapshot()).toEqual(before);
  });

  it('a caller confined to one project changes nothing and learns nothing of another', async () => {
    const confined = await makeCertificate(plane.dir, 'confined');
    await plane.trust(confined.certificate, { restricted: true, projects: ['blog'] });
    const sender = plane.as(confined);
    const before = await plane.snapshot();
    const requests = routes.flatMap((route) => {
      const sent = proper(route);
      const mark = sent.path.includes('?') ? '&' : '?';
      return [
        '',
        'all-projects=true',
        'project=default',
        'project=default&project=blog',
        'project=Default',
        'project=%00',
      ].map((query) => ({
        ...sent,
        path: query === '' ? sent.path : `${sent.path}${mark}${query}`,
      }));
    });
    const findings = await attack(sender, requests, (sent, answer) => {
      const looks = ['GET', 'HEAD'].includes(sent.method);
      if (!looks && answer.status < 400) return `status ${answer.status}: ${answer.text}`;
      return tellsSecret(sent, answer);
    });
    expect(findings).toEqual({});
    expect(await plane.snapshot()).toEqual(before);
  });

  it('a caller confined to one project is shown nothing of others in its own or in all', async () => {
    const confined = await makeCertificate(plane.dir, 'confined-2');
    await plane.trust(confined.certificate, { restricted: true, projects: ['blog'] });
    const requests = routes
      .filter(({ method }) => method === 'GET')
      .flatMap((route) =>
        ['project=blog', 'all-projects=true', 'recursion=1&project=blog', 'recursion=2&all-projects=1'].map(
          (query) => ({
            ...proper(route),
            path: `${existing(route.path)}?${query}`,
          }),
        ),
      );
    expect(await attack(plane.as(confined), requests, tellsSecret)).toEqual({});
  });
});

describe('an administrator who sends nonsense', () => {
  it.each(HOSTILE_BODIES.filter(({ refused }) => refused))(
    'is refused, and nothing is changed: $name',
    async (hostile) => {
      const before = await plane.snapshot();
      const requests = routes
        .filter(({ body, method, path }) => body !== null || (method === 'POST' && path.startsWith('/agent/join')))
        .map((route) => ({ ...proper(route), body: hostile.body, headers: hostile.headers ?? {} }));
      const findings = await attack(admin, requests, (_, { status, text }) =>
        status < 400 ? `status ${status}: ${text}` : null,
      );
      expect(findings).toEqual({});
      expect(await plane.snapshot()).toEqual(before);
    },
  );

  it.each(HOSTILE_BODIES.filter(({ refused }) => !refused))('is answered: $name', async (hostile) => {
    const requests = routes
      .filter(({ method }) => !['GET', 'HEAD', 'DELETE'].includes(method))
      .map((route) => ({ ...proper(route), path: absent(route), body: hostile.body, headers: hostile.headers ?? {} }));
    expect(await attack(admin, requests)).toEqual({});
  });

  it('is answered to every trick with a path', async () => {
    const before = await plane.snapshot();
    const requests = routes
      .filter(({ path }) => path.includes('{'))
      .flatMap((route) =>
        shareOf(route, HOSTILE_PATHS).map((trick) => ({
          ...proper(route),
          path: route.path.replace(/\{\w+\}/, trick).replace(/\{\w+\}/g, 'guarded'),
        })),
      );
    const creates = (sent: Sent) => sent.method === 'POST';
    const findings = await attack(admin, requests, (sent, { status, text }) =>
      status < 400 && !creates(sent) && sent.method !== 'GET' ? `status ${status}: ${text}` : null,
    );
    expect(findings).toEqual({});
    expect(await plane.snapshot()).toEqual(before);
  });

  it('is answered to every query, whatever it says', async () => {
    const requests = routes
      .filter(({ method }) => method === 'GET')
      .flatMap((route) =>
        hostileQueries(route.query).map((query) => ({ ...proper(route), path: `${existing(route.path)}?${query}` })),
      );
    expect(await attack(admin, requests)).toEqual({});
  });

  it('is answered to every header', async () => {
    const requests = routes
      .filter(({ method }) => method === 'GET' || method === 'POST')
      .flatMap((route) =>
        shareOf(route, HOSTILE_HEADERS).map((headers) => ({
          ...proper(route),
          path: absent(route),
          body: '{',
          headers,
        })),
      );
    expect(await attack(admin, requests)).toEqual({});
  });

  it('is answered to every method that a route has not', async () => {
    const paths = [...new Set(routes.map(({ path }) => path))];
    const known = new Set(routes.map(({ id }) => id));
    const requests = paths.flatMap((path) =>
      HOSTILE_METHODS.filter((method) => !known.has(`${method} ${path}`)).map((method) => ({
        method,
        path: existing(path),
      })),
    );
    const looks = (sent: Sent) => ['HEAD', 'OPTIONS'].includes(sent.method);
    const findings = await attack(admin, requests, (sent, { status }) =>
      status < 400 && !looks(sent) ? `status ${status}` : null,
    );
    expect(findings).toEqual({});
  });
});

/** A path of the route's form to something that is not there. */
const absent = (route: RouteUnderTest) => route.path.replace(/\{\w+\}/g, 'absent');

/** Half of them for each route, and each for half of the routes: methods of one path read it alike. */
const shareOf = <T>(route: RouteUnderTest, all: readonly T[]): T[] =>
  all.filter((_, index) => (index + routes.indexOf(route)) % 2 === 0);
