/** Talking to the running control plane of this machine as who owns it: by its private socket and its signing secret. */
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import { SignJWT } from 'jose';
import { z } from 'zod';
import { RecoveryAnswer, RecoveryStatus, type RecoveryStep } from '#protocol/backup.ts';
import { socketPathOf } from './workerd.ts';

/** What hosts have may take a minute to come. */
const ANSWER_LIMIT_MS = 180_000;

const Failure = z.object({ error: z.object({ message: z.string() }) });

export interface Operator {
  status(): Promise<RecoveryStatus>;
  step(step: RecoveryStep): Promise<RecoveryAnswer>;
}

/** Both throw the control plane's refusal, or that it does not run. */
export function createOperator(dataDir: string): Operator {
  const ask = async (method: string, body?: RecoveryStep): Promise<unknown> => {
    const { status, text } = await send(dataDir, method, body);
    const answer: unknown = JSON.parse(text);
    if (status === 200) return answer;
    throw new Error(Failure.safeParse(answer).data?.error.message ?? `The control plane answered ${status}`);
  };
  return {
    status: async () => RecoveryStatus.parse(await ask('GET')),
    step: async (step) => RecoveryAnswer.parse(await ask('POST', step)),
  };
}

/** Made anew for each request: an operator may take their time. */
async function makeToken(dataDir: string): Promise<string> {
  const secret = await readFile(path.join(dataDir, 'signing.secret'), 'utf8').catch((cause) => {
    throw new Error(`There is no control plane in ${dataDir}, or it is not yours`, { cause });
  });
  return new SignJWT()
    .setProtectedHeader({ alg: 'HS256' })
    .setAudience('longshore-operator')
    .setIssuedAt()
    .sign(Buffer.from(secret.trim(), 'base64'));
}

async function send(dataDir: string, method: string, body?: RecoveryStep): Promise<{ status: number; text: string }> {
  const dir = path.resolve(dataDir);
  const token = await makeToken(dir);
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath: socketPathOf(dir),
      method,
      path: '/agent/recovery',
      headers: { host: 'control-plane', authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
    outgoing.setTimeout(ANSWER_LIMIT_MS, () => outgoing.destroy(new Error('it does not answer')));
    outgoing.once('error', (cause) =>
      reject(new Error(`Cannot reach the control plane in ${dir}: start it first (${cause.message})`, { cause })),
    );
    outgoing.once('response', (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
      });
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }));
      answer.once('error', reject);
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
