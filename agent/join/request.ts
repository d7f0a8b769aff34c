/** The requests of a join: what it would mean, a token for another right, and the join itself. */
import { request } from 'node:http';
import { z } from 'zod';
import { AppError, fromWireError, unavailable, WireError } from '#protocol/errors.ts';
import {
  JoinAnswer,
  JoinPlan,
  type JoinPlanRequest,
  type JoinRequest,
  JoinToken,
  type JoinTokenRequest,
} from '#protocol/join.ts';
import type { ServerAddress } from '../link/address.ts';
import { ServerAgent, type Trust } from '../link/dial.ts';

const ANSWER_LIMIT_MS = 30_000;
const Refusal = z.object({ error: WireError });

/**
 * Sends the request over a connection whose certificate was judged before. Throws the server's own refusal as `AppError`,
 * `unavailable` when there is no answer.
 */
export const postJoin = (address: ServerAddress, trust: Trust, body: JoinRequest): Promise<JoinAnswer> =>
  ask(address, trust, '/agent/join', body, JoinAnswer);

/** What the join would bring this host; fails as `postJoin`. */
export const askPlan = (address: ServerAddress, trust: Trust, body: JoinPlanRequest): Promise<JoinPlan> =>
  ask(address, trust, '/agent/join/plan', body, JoinPlan);

/** A join token for a password, a bootstrap token or the connection's certificate; fails as `postJoin`. */
export const askToken = (address: ServerAddress, trust: Trust, body: JoinTokenRequest): Promise<JoinToken> =>
  ask(address, trust, '/agent/join/token', body, JoinToken);

async function ask<T>(
  address: ServerAddress,
  trust: Trust,
  path: string,
  body: unknown,
  schema: z.ZodType<T>,
): Promise<T> {
  const { status, text } = await post(address, trust, path, JSON.stringify(body));
  const answer = parseJson(text);
  if (status === 200) return schema.parse(answer);
  const refusal = Refusal.safeParse(answer);
  if (refusal.success) throw fromWireError(refusal.data.error);
  throw unavailable(`${address.authority} answered ${status}: is it a Longshore control plane?`);
}

function post(
  address: ServerAddress,
  trust: Trust,
  path: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(cause instanceof AppError ? cause : unavailable(cause.message, cause));
    const outgoing = request(
      {
        agent: new ServerAgent(address, trust),
        host: address.host,
        port: address.port,
        path,
        method: 'POST',
        headers: {
          host: address.authority,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
        timeout: ANSWER_LIMIT_MS,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', fail);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        });
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`No answer from ${address.authority}`)));
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
