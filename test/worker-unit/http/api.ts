/** The API over a real database: the app's own routing and authentication, with objects that note what they were asked. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Command } from '#protocol/commands.ts';
import { AppError, toWireError } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import { createBase, refuseOtherMethods } from '#worker/http/base.ts';
import type { App } from '#worker/http/route.ts';
import { certificateRoutes } from '#worker/http/routes/certificates.ts';
import { clusterRoutes } from '#worker/http/routes/cluster.ts';
import { eventRoutes } from '#worker/http/routes/events.ts';
import { operationRoutes } from '#worker/http/routes/operations.ts';
import { profileRoutes } from '#worker/http/routes/profiles.ts';
import { projectRoutes } from '#worker/http/routes/projects.ts';
import { resourceRoutes } from '#worker/http/routes/resources.ts';
import { serverRoutes } from '#worker/http/routes/server.ts';
import { warningRoutes } from '#worker/http/routes/warnings.ts';
import { createLogger } from '#worker/lib/log.ts';
import { issueSession } from '#worker/lib/session.ts';
import type { ClusterEvent, EventFilter, Objects } from '#worker/objects/contract.ts';
import type { Context } from '#worker/services/context.ts';
import { applyResult } from '#worker/state/commands.ts';
import type { Db } from '#worker/state/db.ts';
import { certificates } from '#worker/state/schema.ts';
import { openTestDb } from '../state/helpers.ts';

export interface Client {
  fingerprint: string;
  der: Buffer;
  pem: string;
}

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any;
}

export interface Api {
  db: Db;
  ctx: Context;
  asked: {
    published: ClusterEvent[];
    delivered: { member: string; command: Command }[];
    removed: { member: string; cleanUp: boolean }[];
    renamed: string[];
    listening: EventFilter[];
  };
  /** What members answer to the commands they get, at once. Null, or undefined as the answer: they stay silent. Throws an AppError to refuse. */
  answer: ((member: string, command: Command) => unknown) | null;
  /** The clock; move it by assignment. */
  clock: { now: string };
  call(
    method: string,
    path: string,
    options?: { as?: Client | 'nobody' | { member: string; user?: string }; body?: unknown; headers?: HeadersInit },
  ): Promise<Answer>;
  /** A trusted administrator: who calls when nobody else is named. */
  admin: Client;
}

const run = promisify(execFile);

/** A self-signed certificate as `lxc` makes them. */
export async function makeClient(name: string, days = 30): Promise<Client> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-certificate-'));
  try {
    const [key, crt] = [join(directory, 'k'), join(directory, 'c')];
    const subject = ['-subj', `/O=linuxcontainers.org/CN=${name}`];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1', '-nodes'];
    await run('openssl', [
      'req',
      '-x509',
      '-utf8',
      ...curve,
      ...subject,
      '-days',
      `${days}`,
      '-keyout',
      key,
      '-out',
      crt,
    ]);
    const pem = await readFile(crt, 'utf8');
    const der = Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    return { pem, der, fingerprint: createHash('sha256').update(der).digest('hex') };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export async function trust(db: Db, client: Client, fields: Partial<typeof certificates.$inferInsert> = {}) {
  await db.insert(certificates).values({
    fingerprint: client.fingerprint,
    type: 'client',
    name: 'test',
    projects: [],
    certificate: client.pem,
    createdAt: new Date().toISOString(),
    ...fields,
  });
}

const SIGNING = { SIGNING_SECRET: Buffer.alloc(32, 7).toString('base64') };

/** `more` adds routes of other files. */
export async function openApi(more: (app: App) => void = () => {}): Promise<Api> {
  const db = await openTestDb();
  const admin = await makeClient('admin@host');
  await trust(db, admin);
  const asked: Api['asked'] = { published: [], delivered: [], removed: [], renamed: [], listening: [] };
  const clock = { now: '' };
  const ctx: Context = {
    db,
    objects: fakeObjects(asked, (member, command) => answer(api, member, command)),
    blobs: { put: unused, get: unused, delete: unused },
    vars: {
      publicAddresses: ['192.0.2.9:8443'],
      serverCertificate: admin.pem,
      linkShards: 1,
      logLevel: 'error',
    },
    log: createLogger('error', {}, () => {}),
    now: () => (clock.now === '' ? new Date().toISOString() : clock.now),
    newId: () => crypto.randomUUID(),
  };
  const app = createBase(() => ctx);
  for (const add of [serverRoutes, eventRoutes, operationRoutes, certificateRoutes, clusterRoutes]) add(app);
  for (const add of [profileRoutes, projectRoutes, warningRoutes, resourceRoutes, more]) add(app);
  refuseOtherMethods(app);
  const api: Api = {
    db,
    ctx,
    asked,
    answer: null,
    clock,
    admin,
    call: (method, path, options = {}) => call(app, admin, method, path, options),
  };
  return api;
}

async function answer(api: Api, member: string, command: Command): Promise<void> {
  if (api.answer === null) return;
  let outcome: Parameters<typeof applyResult>[1]['outcome'];
  try {
    const result = api.answer(member, command);
    if (result === undefined) return;
    outcome = { ok: true, result };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    outcome = { ok: false, error: toWireError(error) };
  }
  await applyResult(api.db, { member, id: command.id, outcome, now: api.ctx.now() });
}

async function call(
  app: App,
  admin: Client,
  method: string,
  path: string,
  options: Parameters<Api['call']>[2] & {},
): Promise<Answer> {
  const caller = options.as ?? admin;
  const headers = new Headers(options.headers);
  let cf: unknown;
  if (caller !== 'nobody' && 'member' in caller) {
    headers.set('authorization', `Bearer ${await issueSession(SIGNING, caller.member, `key-of-${caller.member}`)}`);
    if (caller.user !== undefined) headers.set('x-longshore-local-user', caller.user);
  } else if (caller !== 'nobody') {
    const certRFC9440 = `:${caller.der.toString('base64')}:`;
    const certFingerprintSHA256 = caller.fingerprint;
    cf = { clientAddress: '198.51.100.7', tlsClientAuth: { certPresented: '1', certFingerprintSHA256, certRFC9440 } };
  }
  const body = typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
  const request = new Request(`https://unix.socket${path}`, {
    method,
    headers,
    ...(options.body === undefined ? {} : { body }),
  });
  const answer = await app.fetch(Object.assign(request, { cf }), SIGNING as Env);
  const text = await answer.text();
  const isJson = answer.headers.get('content-type')?.startsWith('text/plain') !== true;
  return {
    status: answer.status,
    headers: answer.headers,
    body: text === '' ? null : isJson ? JSON.parse(text) : text,
  };
}

const unused = () => Promise.reject(new Error('not part of this test'));

function fakeObjects(asked: Api['asked'], answered: (member: string, command: Command) => Promise<void>): Objects {
  return {
    cluster: {
      place: unused,
      settle: unused,
      progress: unused,
      publish: async (events) => void asked.published.push(...events),
      waitOperation: async () => {},
      connectEvents: async (_request, filter) => {
        asked.listening.push(filter);
        return new Response(null, { status: 204 });
      },
    },
    links: {
      deliver: async (member, list) => {
        asked.delivered.push(...list.map((command) => ({ member, command })));
        for (const command of list) await answered(member, command);
      },
      cancel: async () => {},
      query: unused,
      presence: async () => [],
      state: async () => null,
      metrics: async () => ({ samples: [], times: [] }),
      connect: unused,
      remove: async (member, { cleanUp }) => void asked.removed.push({ member, cleanUp }),
      again: async () => {},
      rename: async (member, newName) => void asked.renamed.push(`${member} ${newName}`),
    },
    streams: { open: unused, connect: unused, transfer: unused, abort: async () => {} },
  };
}
