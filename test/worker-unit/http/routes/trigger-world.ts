/** Triggers over a real database with one small cluster in it, and senders that sign as the real ones do. */
import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import type { Env } from '#worker/env.ts';
import { createBase } from '#worker/http/base.ts';
import { hookRoutes } from '#worker/http/routes/hooks.ts';
import { instanceRoutes } from '#worker/http/routes/instances.ts';
import { triggerRoutes } from '#worker/http/routes/triggers.ts';
import { openWorld, type World } from '../../services/instance-world.ts';
import { type Client, trust } from '../api.ts';

export interface Sent {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
}

export interface TriggerWorld extends World {
  clock: { now: string };
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Sent>;
  /** Without a certificate, to a trigger's address. */
  deliver(
    url: string,
    body: string | Uint8Array<ArrayBuffer>,
    headers?: Record<string, string>,
    address?: string,
  ): Promise<Sent>;
  /** Creates a trigger; throws when it is refused. */
  define(body: object, query?: string): Promise<{ url: string; secret: string }>;
}

export const NOW = '2026-11-21T12:00:00.000Z';
export const SIGNING = { SIGNING_SECRET: Buffer.alloc(32, 7).toString('base64'), SERVER_CERTIFICATE: '' };

export async function openTriggers(client: Client): Promise<TriggerWorld> {
  const world = await openWorld();
  await trust(world.db, client);
  const clock = { now: NOW };
  world.ctx.now = () => clock.now;
  world.ctx.vars.publicAddresses = ['cluster.example:8443'];
  const app = createBase(() => world.ctx);
  for (const add of [triggerRoutes, hookRoutes, instanceRoutes]) add(app);
  const send = async (request: Request, cf: object): Promise<Sent> => {
    Object.defineProperty(request, 'cf', { value: cf });
    const response = await app.fetch(request, SIGNING as Env);
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
  };
  const call: TriggerWorld['call'] = (method, path, body, headers = {}) =>
    send(
      new Request(`https://cluster${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
      { tlsClientAuth: { certPresented: '1', certFingerprintSHA256: client.fingerprint } },
    );
  return {
    ...world,
    clock,
    call,
    deliver: (url, body, headers = {}, clientAddress = '192.0.2.1') =>
      send(new Request(`https://cluster${new URL(url).pathname}`, { method: 'POST', headers, body }), {
        clientAddress,
      }),
    define: async (body, query = '') => {
      const made = await call('POST', `/1.0/triggers${query}`, body);
      if (made.status !== 201) throw new Error(JSON.stringify(made.body));
      return made.body.metadata;
    },
  };
}

/** Headers of Standard Webhooks for this body. */
export function signStandard(secret: string, id: string, at: string, body: string): Record<string, string> {
  const time = new Date(at);
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(time.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(id, time, body),
  };
}

/** Headers as GitHub sends them. */
export const signGithub = (secret: string, id: string, event: string, body: string): Record<string, string> => ({
  'x-github-delivery': id,
  'x-github-event': event,
  'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
});

/** A trigger that launches for everything that has a job. */
export const SIMPLE = {
  name: 'build',
  parameters: { job: { pointer: '/job', type: 'integer' } },
  instance: { name: 'build-{{job}}', source: { alias: 'bb' }, config: { 'user.job': '{{job}}' } },
};

/** The example of docs/webhooks.md. */
export const RUNNER = {
  name: 'runner',
  scheme: 'github',
  window_seconds: 3600,
  timestamp_pointer: '/workflow_job/created_at',
  parameters: {
    job: { pointer: '/workflow_job/id', type: 'integer' },
    repository: { pointer: '/repository/full_name', type: 'string', pattern: '[A-Za-z0-9._-]+/[A-Za-z0-9._-]+' },
  },
  launch: [
    { header: 'X-GitHub-Event', equals: 'workflow_job' },
    { pointer: '/action', equals: 'queued' },
    { pointer: '/workflow_job/labels', contains: 'longshore' },
  ],
  delete: [
    { header: 'X-GitHub-Event', equals: 'workflow_job' },
    { pointer: '/action', equals: 'completed' },
  ],
  instance: {
    name: 'runner-{{job}}',
    source: { alias: 'bb' },
    ephemeral: true,
    config: { 'user.repository': '{{repository}}' },
  },
  limits: { concurrency: 2, ttl: '2H' },
};

export const workflowJob = (id: number, action: string, at = NOW) =>
  JSON.stringify({
    action,
    workflow_job: { id, labels: ['self-hosted', 'longshore'], created_at: at },
    repository: { full_name: 'acme/site' },
  });
