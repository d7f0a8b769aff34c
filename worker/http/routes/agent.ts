/**
 * What agents talk to, outside LXD's API: the link, streams, image content, and the join. Answers and errors are plain JSON
 * (`{error: {code, message}}`). The link proves its member by the handshake, the join by its token, the rest by the session.
 */
import type { Context as HonoContext } from 'hono';
import { ZodError, type z } from 'zod';
import { AppError, badRequest, forbidden, notFound, toWireError } from '#protocol/errors.ts';
import {
  type JoinAnswer,
  type JoinPlan,
  JoinPlanRequest,
  JoinRequest,
  type JoinToken,
  JoinTokenRequest,
  joinPayload,
} from '#protocol/join.ts';
import { checkMemberName, isFingerprint } from '#protocol/names.ts';
import { verifyEd25519 } from '#worker/lib/ed25519.ts';
import { parseWellFormed } from '#worker/lib/json.ts';
import { bearerToken, verifySession } from '#worker/lib/session.ts';
import { openRelease } from '#worker/services/agent-release.ts';
import { openImagePart } from '#worker/services/image-content.ts';
import { consumeJoinToken, planJoin } from '#worker/services/join.ts';
import { exchangeForJoinToken } from '#worker/services/join-token.ts';
import { serverFingerprint } from '#worker/services/server-certificate.ts';
import { countAttempts } from '#worker/services/trust-attempts.ts';
import { authenticate, clientAddress, memberOfSession } from '../auth.ts';
import { readBytes } from '../body.ts';
import { type AppBindings, buildContext } from '../context.ts';
import { retryAfter } from '../envelope.ts';
import type { App } from '../route.ts';

type Handler = (c: HonoContext<AppBindings>) => Promise<Response>;
/** A route outside LXD's API, to be `guarded`. */
export type AgentHandler = Handler;

/** A join request is small; anything larger is not one. */
const JOIN_LIMIT_BYTES = 64 * 1024;

export function agentRoutes(app: App): void {
  app.get('/agent/link', guarded(connectLink));
  app.get('/agent/stream/:id', guarded(connectStream));
  app.on(['GET', 'PUT'], '/agent/stream/:id/content', guarded(connectStream));
  app.get('/agent/stream/:id/peer', guarded(connectStream));
  app.post('/agent/stream/:id/outcome', guarded(connectStream));
  app.get('/agent/images/:fingerprint/:part', guarded(sendImagePart));
  app.get('/agent/release/:sha256', guarded(sendRelease));
  app.post('/agent/join', guarded(join));
  app.post('/agent/join/plan', guarded(plan));
  app.post('/agent/join/token', guarded(exchange));
}

/** Errors become their status and wire form; anything unexpected is logged and blank. */
export function guarded(handler: Handler): Handler {
  return async (c) => {
    try {
      return await handler(c);
    } catch (error) {
      const known = error instanceof ZodError ? badRequest('The request is not of the expected form') : error;
      if (!(known instanceof AppError)) {
        buildContext(c).log.error('agent.request.failed', { path: new URL(c.req.url).pathname }, error);
      }
      const wire = toWireError(known);
      if (!(known instanceof AppError)) return Response.json({ error: wire }, { status: 500 });
      return Response.json({ error: wire }, { status: known.status, headers: retryAfter(known) });
    }
  };
}

const connectLink: Handler = async (c) => {
  const member = c.req.query('member') ?? '';
  if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') throw badRequest('Missing or invalid upgrade header');
  if (checkMemberName(member) !== null) throw badRequest('No such member name');
  return buildContext(c).objects.links.connect(member, c.req.raw, clientAddress(c.req.raw));
};

const connectStream: Handler = async (c) => {
  const { member } = await requireMember(c);
  const headers = new Headers(c.req.raw.headers);
  headers.set('x-longshore-member', member);
  return buildContext(c).objects.streams.connect(c.req.param('id') ?? '', new Request(c.req.raw, { headers }));
};

const sendImagePart: Handler = async (c) => {
  await requireMember(c);
  const { fingerprint = '', part = '' } = c.req.param();
  if (!isFingerprint(fingerprint)) throw notFound('Image');
  const content = await openImagePart(buildContext(c), fingerprint, part);
  return new Response(content.body, {
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(content.sizeBytes) },
  });
};

async function readBody<T extends z.ZodType>(c: HonoContext<AppBindings>, schema: T): Promise<z.infer<T>> {
  const bytes = await readBytes(c.req.raw, JOIN_LIMIT_BYTES);
  if (bytes === null) throw new AppError('too_large', 'The request is too large');
  try {
    return schema.parse(parseWellFormed(new TextDecoder().decode(bytes) || 'null'));
  } catch (error) {
    throw error instanceof SyntaxError ? badRequest('The request is not JSON', error) : error;
  }
}

async function checkSeen(c: HonoContext<AppBindings>, fingerprint: string): Promise<void> {
  const expected = await serverFingerprint(buildContext(c).vars);
  if (expected !== null && expected !== fingerprint) {
    throw forbidden('The certificate that the joining host saw is not this cluster’s');
  }
}

const plan: Handler = async (c) => {
  const request = await readBody(c, JoinPlanRequest);
  await checkSeen(c, request.fingerprint);
  const ctx = buildContext(c);
  const planned = await countAttempts(ctx, clientAddress(c.req.raw), 'join', () => planJoin(ctx, request));
  return Response.json(planned satisfies JoinPlan);
};

const exchange: Handler = async (c) => {
  const request = await readBody(c, JoinTokenRequest);
  const ctx = buildContext(c);
  const { principal, peer } = await authenticate(c.req.raw, c.env, ctx);
  // What the caller shows instead of its name is judged by the service: nothing else of it counts.
  const token = await exchangeForJoinToken({ ...ctx, principal }, request, peer?.fingerprint ?? null);
  return Response.json(token satisfies JoinToken);
};

const sendRelease: Handler = async (c) => {
  await requireMember(c);
  const content = await openRelease(buildContext(c), c.req.param('sha256') ?? '');
  return new Response(content.body, {
    headers: { 'content-type': 'text/javascript', 'content-length': String(content.sizeBytes) },
  });
};

const join: Handler = async (c) => {
  const request = await readBody(c, JoinRequest);
  const ctx = buildContext(c);
  await checkSeen(c, request.fingerprint);
  if (!(await verifyEd25519(request.publicKey, request.signature, joinPayload(request)))) {
    throw forbidden('The signature does not fit the public key');
  }
  const { member } = await countAttempts(ctx, clientAddress(c.req.raw), 'join', () => consumeJoinToken(ctx, request));
  const answer: JoinAnswer = { member, clusterCertificate: ctx.vars.serverCertificate };
  return Response.json(answer);
};

/** A session outlives its member by hours: only while it is one is it good for anything. */
async function requireMember(c: HonoContext<AppBindings>): Promise<{ member: string }> {
  const verified = await session(c);
  if ((await memberOfSession(buildContext(c), verified)) === null) {
    throw new AppError('unauthorized', 'No valid session');
  }
  return verified;
}

async function session(c: HonoContext<AppBindings>): Promise<{ member: string; keyId: string }> {
  const token = bearerToken(c.req.raw);
  const verified = token === null ? null : await verifySession(c.env, token);
  if (verified === null) throw new AppError('unauthorized', 'No valid session');
  return verified;
}
