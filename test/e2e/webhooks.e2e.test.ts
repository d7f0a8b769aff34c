/** Webhooks that launch: signed by the senders' own libraries, delivered without a certificate, carried out on real hosts. */
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, describe, expect, it } from 'vitest';
import { type ApiAnswer, api } from './api.ts';
import { instancesOf, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';

const tag = randomBytes(3).toString('hex');
const created = new Set<string>();
const triggers: string[] = [];

interface Target {
  name: string;
  path: string;
  secret: string;
}

/** By the stock client, as an administrator would. */
async function define(body: { name: string } & Record<string, unknown>): Promise<Target> {
  triggers.push(body.name);
  const made = (await lxcJson('query', '-X', 'POST', '/1.0/triggers', '-d', JSON.stringify(body))) as {
    url: string;
    secret: string;
  };
  return { name: body.name, path: new URL(made.url).pathname, secret: made.secret };
}

const deliver = (to: Target, body: string, headers: Record<string, string>): Promise<ApiAnswer> =>
  api({ method: 'POST', path: to.path, body, headers, anonymous: true });

function sign(to: Target, id: string, body: string, at = new Date()): Record<string, string> {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(to.secret).sign(id, at, body),
  };
}

const github = (to: Target, body: string): Record<string, string> => ({
  'x-github-event': 'workflow_job',
  'x-github-delivery': crypto.randomUUID(),
  'x-hub-signature-256': `sha256=${createHmac('sha256', to.secret).update(body).digest('hex')}`,
});

const ofJob = (name: string) => ({
  name,
  parameters: { job: { pointer: '/job', type: 'string', pattern: '[a-z0-9-]+' } },
  instance: { name: '{{job}}', source: { alias: 'tiny' }, config: { 'user.job': '{{job}}' } },
});

/** A job whose name is the instance's. */
function newJob(stem: string): { name: string; body: string } {
  const name = newName(stem);
  created.add(name);
  return { name, body: JSON.stringify({ job: name }) };
}

const outcomesOf = async (to: Target) => {
  const rows = (await lxcJson('query', `/1.0/triggers/${to.name}/deliveries`)) as {
    outcome: string;
    status_code: number;
  }[];
  return rows.map(({ outcome, status_code }) => `${outcome} ${status_code}`).sort();
};
const isRunning = (name: string) =>
  waitFor(`${name} to run`, async () => (await instancesOf([name]))[0]?.status === 'Running' || undefined);
const isGone = (name: string) =>
  waitFor(`${name} to be gone`, async () => (await instancesOf([name])).length === 0 || undefined);

afterAll(async () => {
  for (const name of triggers) await lxc('query', '-X', 'DELETE', `/1.0/triggers/${name}`);
  await removeInstances((await instancesOf([...created])).map(({ name }) => name));
});

describe('a signed delivery', () => {
  it('launches once, though it comes 50 times at once', async () => {
    const to = await define(ofJob(`many-${tag}`));
    const { name, body } = newJob('hook');
    const headers = sign(to, 'msg_1', body);
    const answers = await Promise.all(Array.from({ length: 50 }, () => deliver(to, body, headers)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    const [operation = '', ...others] = new Set(answers.map((answer) => answer.body.operation));
    expect(others).toEqual([]);
    expect(await lxcJson('query', `${operation}/wait?timeout=60`)).toMatchObject({ status_code: 200 });
    expect(await instancesOf([name])).toMatchObject([{ name, status: 'Running', config: { 'user.job': name } }]);
    const outcomes = await outcomesOf(to);
    expect(outcomes).toEqual([...Array.from({ length: 49 }, () => 'duplicate 202'), 'launched 202']);
  });

  it('is refused tampered, expired, unsigned, replayed and misfitting, and each refusal is recorded', async () => {
    const to = await define(ofJob(`bad-${tag}`));
    const { name, body } = newJob('hook');
    const good = sign(to, 'msg_1', body);
    const old = sign(to, 'msg_2', body, new Date(Date.now() - 600_000));
    const misfit = JSON.stringify({ job: 'no such; name' });
    const answers = [
      await deliver(to, JSON.stringify({ job: `${name}-x` }), good),
      await deliver(to, body, old),
      await deliver(to, body, {}),
      await deliver(to, body, { ...old, 'webhook-timestamp': good['webhook-timestamp'] ?? '' }),
      await deliver(to, body, { ...good, 'webhook-id': 'msg_9' }),
      await deliver(to, misfit, sign(to, 'msg_3', misfit)),
      await deliver(to, 'job', sign(to, 'msg_4', 'job')),
    ];
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 422, 400]);
    expect(await outcomesOf(to)).toEqual(['refused 400', ...Array(5).fill('refused 401'), 'refused 422']);
    expect(await instancesOf([name])).toEqual([]);
    expect((await deliver({ ...to, path: '/hooks/nope' }, body, good)).status).toBe(404);
  });

  it('is refused over the limit, also when many come at once, and accepted again when there is room', async () => {
    const to = await define({ ...ofJob(`limit-${tag}`), limits: { concurrency: 2 } });
    const jobs = Array.from({ length: 8 }, () => newJob('limit'));
    const send = ({ name, body }: { name: string; body: string }) => deliver(to, body, sign(to, name, body));
    const answers = await Promise.all(jobs.map(send));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 202, ...Array(6).fill(429)]);
    const living = await waitFor('two to run', async () => {
      const found = await instancesOf(jobs.map(({ name }) => name));
      return found.every(({ status }) => status === 'Running') ? found.map(({ name }) => name) : undefined;
    });
    expect(living).toHaveLength(2);
    expect(await lxc('delete', '--force', living[0] ?? '')).toMatchObject({ code: 0 });
    const refused = jobs.find(({ name }) => !living.includes(name));
    expect(refused && (await send(refused)).status).toBe(202);
  });

  it('launches an instance that is deleted when its time is over', async () => {
    const to = await define({ ...ofJob(`ttl-${tag}`), limits: { ttl: '5S' } });
    const { name, body } = newJob('ttl');
    expect((await deliver(to, body, sign(to, 'msg_1', body))).status).toBe(202);
    await isRunning(name);
    await isGone(name);
  });
});

describe('CI runners', () => {
  it('are there while their job is queued or runs, and gone when it has completed', async () => {
    const job = Number.parseInt(randomBytes(5).toString('hex'), 16);
    const name = `runner-${job}`;
    created.add(name);
    const to = await define({
      name: `runner-${tag}`,
      scheme: 'github',
      window_seconds: 3600,
      timestamp_pointer: '/workflow_job/created_at',
      parameters: { job: { pointer: '/workflow_job/id', type: 'integer' } },
      launch: [
        { header: 'X-GitHub-Event', equals: 'workflow_job' },
        { pointer: '/action', equals: 'queued' },
        { pointer: '/workflow_job/labels', contains: 'longshore' },
      ],
      delete: [
        { header: 'X-GitHub-Event', equals: 'workflow_job' },
        { pointer: '/action', equals: 'completed' },
      ],
      instance: { name: 'runner-{{job}}', ephemeral: true, source: { alias: 'tiny' } },
      limits: { concurrency: 4, per_hour: 100, ttl: '2H' },
    });
    const at = new Date().toISOString();
    const send = (action: string) => {
      const body = JSON.stringify({ action, workflow_job: { id: job, labels: ['longshore'], created_at: at } });
      return deliver(to, body, github(to, body));
    };
    expect((await send('queued')).status).toBe(202);
    await isRunning(name);
    expect((await send('in_progress')).body.metadata).toMatchObject({ outcome: 'ignored' });
    expect((await lxc('exec', name, '--', 'echo', 'building')).stdout).toBe('building\n');
    expect((await send('completed')).status).toBe(202);
    await isGone(name);
    // What is repeated later, by whomever, launches nothing.
    expect([200, 202]).toContain((await send('queued')).status);
    expect(await instancesOf([name])).toEqual([]);
  });
});

describe('creating with an Idempotency-Key', () => {
  it('makes one instance of 20 requests at once', async () => {
    const key = crypto.randomUUID();
    const body = JSON.stringify({ source: { type: 'image', alias: 'tiny' }, config: { 'user.key': key } });
    const create = () => api({ method: 'POST', path: '/1.0/instances', body, headers: { 'idempotency-key': key } });
    const answers = await Promise.all(Array.from({ length: 20 }, create));
    const [operation = '', ...others] = new Set(answers.map((answer) => answer.body.operation));
    expect(others).toEqual([]);
    expect(await lxcJson('query', `${operation}/wait?timeout=60`)).toMatchObject({ status_code: 200 });
    const all = (await lxcJson('query', '/1.0/instances?recursion=1')) as {
      name: string;
      config: { 'user.key'?: string };
    }[];
    const made = all.filter(({ config }) => config['user.key'] === key);
    for (const { name } of made) created.add(name);
    expect(made).toHaveLength(1);
    expect(
      (
        await api({
          method: 'POST',
          path: '/1.0/instances',
          body: '{"source":{}}',
          headers: { 'idempotency-key': key },
        })
      ).status,
    ).toBe(422);
  });
});

describe('kept events', () => {
  it('are read from a cursor on', async () => {
    const { name } = newJob('events');
    let last = 0;
    for (let page = [{ id: 0 }]; page.length > 0; last = page.at(-1)?.id ?? last)
      page = (await lxcJson('query', `/1.0/events?since=${last}`)) as { id: number }[];
    expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
    const after = (await lxcJson('query', `/1.0/events?since=${last}`)) as {
      id: number;
      metadata: { source: string };
    }[];
    expect(after.some(({ metadata }) => metadata.source === `/1.0/instances/${name}`)).toBe(true);
    expect(Math.min(...after.map(({ id }) => id))).toBeGreaterThan(last);
  });
});

describe('a webhook for events', () => {
  it('is told what happens, signed, and again when it was not there', async () => {
    const got: { type: string; status: number; id: unknown }[] = [];
    let status = 503;
    let secret = '';
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const headers = request.headers as Record<string, string>;
        const event = new Webhook(secret).verify(Buffer.concat(chunks).toString(), headers) as { type: string };
        got.push({ type: event.type, status, id: headers['webhook-id'] });
        response.writeHead(status).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const hook = `chat-${tag}`;
    try {
      const body = { name: hook, url: `http://127.0.0.1:${port}/`, actions: ['instance-created'], allow_private: true };
      ({ secret } = (await lxcJson('query', '-X', 'POST', '/1.0/webhooks', '-d', JSON.stringify(body))) as {
        secret: string;
      });
      const { name } = newJob('told');
      expect(await lxc('init', 'tiny', name)).toMatchObject({ code: 0 });
      await waitFor('the first attempt', async () => got.length > 0 || undefined);
      status = 204;
      await waitFor('the second attempt', async () => got.length > 1 || undefined);
      expect(got).toMatchObject([
        { type: 'instance-created', status: 503 },
        { type: 'instance-created', status: 204 },
      ]);
      expect(got[0]?.id).toBe(got[1]?.id);
      await waitFor('the queue to know', async () => {
        const sent = (await lxcJson('query', `/1.0/webhooks/${hook}/deliveries`)) as { status: string }[];
        return sent[0]?.status === 'sent' || undefined;
      });
      const refused = await lxc('query', '-X', 'PATCH', `/1.0/webhooks/${hook}`, '-d', '{"allow_private":false}');
      expect(refused.code).not.toBe(0);
    } finally {
      await lxc('query', '-X', 'DELETE', `/1.0/webhooks/${hook}`);
      server.closeAllConnections();
      server.close();
    }
  });
});
