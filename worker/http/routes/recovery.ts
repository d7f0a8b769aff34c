/**
 * What hosts keep of the database, and how it comes back: the host's side by its session, the operator's by a token that only
 * who has the control plane's signing secret can make (`longshore recover`).
 */
import { HostInventory, INVENTORY_LIMIT_BYTES, RecoveryStep } from '#protocol/backup.ts';
import { AppError, badRequest } from '#protocol/errors.ts';
import { bearerToken, isOperator, keyId, verifySession } from '#worker/lib/session.ts';
import { giveBackup } from '#worker/services/backup.ts';
import { giveInventory, readRecovery, stepRecovery } from '#worker/services/recovery.ts';
import { findMember } from '#worker/state/members.ts';
import { buildContext } from '../context.ts';
import type { App } from '../route.ts';
import { type AgentHandler, guarded } from './agent.ts';

export function recoveryRoutes(app: App): void {
  app.get('/agent/backup', guarded(sendBackup));
  app.put('/agent/recovery', guarded(takeInventory));
  app.get('/agent/recovery', guarded(sendStatus));
  app.post('/agent/recovery', guarded(step));
}

const sendBackup: AgentHandler = async (c) => Response.json(await giveBackup(buildContext(c), await memberOf(c)));

const takeInventory: AgentHandler = async (c) => {
  const member = await memberOf(c);
  if (Number(c.req.header('content-length') ?? 0) > INVENTORY_LIMIT_BYTES) {
    throw new AppError('too_large', 'The inventory is too large');
  }
  await giveInventory(buildContext(c), member, HostInventory.parse(await readJson(c)));
  return new Response(null, { status: 204 });
};

const sendStatus: AgentHandler = async (c) => {
  await checkOperator(c);
  return Response.json(await readRecovery(buildContext(c)));
};

const step: AgentHandler = async (c) => {
  await checkOperator(c);
  return Response.json(await stepRecovery(buildContext(c), RecoveryStep.parse(await readJson(c))));
};

type Asked = Parameters<AgentHandler>[0];

async function readJson(c: Asked): Promise<unknown> {
  try {
    return await c.req.json();
  } catch (error) {
    throw badRequest('The request is not JSON', error);
  }
}

/** The member by its session, as long as it holds the key that the session was given to. */
async function memberOf(c: Asked): Promise<string> {
  const token = bearerToken(c.req.raw);
  const session = token === null ? null : await verifySession(c.env, token);
  const row = session === null ? undefined : await findMember(buildContext(c).db, session.member);
  if (session === null || row === undefined || (await keyId(row.publicKey)) !== session.keyId) {
    throw new AppError('unauthorized', 'No valid session');
  }
  return session.member;
}

async function checkOperator(c: Asked): Promise<void> {
  const token = bearerToken(c.req.raw);
  if (token === null || !(await isOperator(c.env, token))) throw new AppError('unauthorized', 'No valid token');
}
