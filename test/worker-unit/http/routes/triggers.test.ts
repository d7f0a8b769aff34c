import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { unavailable } from '#protocol/errors.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { endOverdue } from '#worker/services/trigger-ending.ts';
import { commands, instances, members, triggerLaunches, triggers } from '#worker/state/schema.ts';
import { isSweepNeeded } from '#worker/state/sweep.ts';
import { type Client, makeClient } from '../api.ts';
import {
  NOW,
  openTriggers,
  RUNNER,
  SIMPLE,
  signGithub,
  signStandard,
  type TriggerWorld,
  workflowJob,
} from './trigger-world.ts';

let client: Client;
beforeAll(async () => {
  client = await makeClient('laptop');
});
let world: TriggerWorld;
beforeEach(async () => {
  world = await openTriggers(client);
});
afterEach(() => world.close());

const deliveriesOf = async (name: string) =>
  (await world.call('GET', `/1.0/triggers/${name}/deliveries`)).body.metadata;
const launched = async () => (await world.db.select().from(instances)).map(({ name }) => name);

describe('a trigger', () => {
  it('shows its secret when it is made, and stores it only encrypted', async () => {
    const { secret, url } = await world.define(SIMPLE);
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(url).toMatch(/^https:\/\/cluster\.example:8443\/hooks\/[0-9a-f]{32}$/);
    const shown = await world.call('GET', '/1.0/triggers/build');
    expect(JSON.stringify(shown.body)).not.toContain(secret);
    const [row] = await world.db.select().from(triggers);
    expect(row?.secret).toMatch(/^v1\./);
    expect(JSON.stringify(row)).not.toContain(secret.slice(6));
  });

  it('is listed, edited by what was shown, and deleted', async () => {
    await world.define(SIMPLE);
    expect((await world.call('GET', '/1.0/triggers')).body.metadata).toEqual(['/1.0/triggers/build']);
    const { body, headers } = await world.call('GET', '/1.0/triggers/build');
    const tag = headers.get('etag') ?? '';
    const put = { ...body.metadata, limits: { ...body.metadata.limits, ttl: '1d 2H', concurrency: 3 } };
    expect((await world.call('PUT', '/1.0/triggers/build', put, { 'if-match': tag })).status).toBe(200);
    expect((await world.call('PUT', '/1.0/triggers/build', put, { 'if-match': tag })).status).toBe(412);
    const now = (await world.call('GET', '/1.0/triggers?recursion=1')).body.metadata[0];
    expect(now).toMatchObject({ limits: { ttl: '1d 2H', concurrency: 3 }, parameters: body.metadata.parameters });
    expect((await world.call('PATCH', '/1.0/triggers/build', { enabled: false })).status).toBe(200);
    expect((await world.call('GET', '/1.0/triggers/build')).body.metadata).toMatchObject({
      enabled: false,
      limits: { concurrency: 3 },
      instance: SIMPLE.instance,
    });
    expect((await world.call('DELETE', '/1.0/triggers/build')).status).toBe(200);
    expect((await world.call('GET', '/1.0/triggers/build')).status).toBe(404);
  });

  it('is refused a name that is taken', async () => {
    await world.define(SIMPLE);
    expect(await world.call('POST', '/1.0/triggers', SIMPLE)).toMatchObject({
      status: 409,
      body: { error: 'Trigger "build" already exists' },
    });
  });

  it.each([
    ['a bad name', { name: '../x' }],
    ['no image', { instance: { name: 'x' } }],
    ['an unknown scheme', { scheme: 'basic' }],
    ['a short secret', { secret: 'whsec_AAAA' }],
    ['an undeclared placeholder', { instance: { ...SIMPLE.instance, name: 'x-{{nope}}' } }],
    [
      'a placeholder in a device',
      { instance: { ...SIMPLE.instance, devices: { e: { type: 'disk', source: '{{job}}' } } } },
    ],
    ['a placeholder in what opens the host', { instance: { ...SIMPLE.instance, config: { 'raw.lxc': '{{job}}' } } }],
    ['a string without a pattern', { parameters: { job: { pointer: '/job', type: 'string' } } }],
    [
      'a pattern that slips out of its anchors',
      { parameters: { job: { pointer: '/j', type: 'string', pattern: 'a)|(b' } } },
    ],
    ['an unknown type', { parameters: { job: { pointer: '/job', type: 'object' } } }],
    ['a pointer that is none', { parameters: { job: { pointer: 'job', type: 'integer' } } }],
    ['a condition with two places', { launch: [{ header: 'a', pointer: '/a', equals: 1 }] }],
    ['a condition with no test', { launch: [{ pointer: '/a' }] }],
    ['a condition with two tests', { launch: [{ pointer: '/a', equals: 1, contains: 1 }] }],
    ['deletion without a name', { delete: [{ pointer: '/a', equals: 1 }], instance: { source: { alias: 'bb' } } }],
    ['a life that is none', { limits: { ttl: 'soon' } }],
    ['no room at all', { limits: { concurrency: 0 } }],
    ['a window of a year', { window_seconds: 31_536_000 }],
  ])('is refused %s', async (_, change) => {
    const { status, body } = await world.call('POST', '/1.0/triggers', { ...SIMPLE, ...change });
    expect([status, body.type]).toEqual([400, 'error']);
    expect(await world.db.select().from(triggers)).toEqual([]);
  });

  it('belongs to its project: the same name in another is another one', async () => {
    await world.define(SIMPLE);
    await world.define(SIMPLE, '?project=shared');
    expect((await world.call('GET', '/1.0/triggers?project=shared')).body.metadata).toEqual([
      '/1.0/triggers/build?project=shared',
    ]);
    expect((await world.call('GET', '/1.0/triggers?all-projects=true')).body.metadata).toHaveLength(2);
  });
});

describe('a delivery by Standard Webhooks', () => {
  const body = JSON.stringify({ job: 7 });

  it('launches an instance filled from the payload, and is answered with its operation', async () => {
    const { url, secret } = await world.define(SIMPLE);
    const answer = await world.deliver(url, body, signStandard(secret, 'msg_1', NOW, body));
    expect(answer.status).toBe(202);
    expect(answer.body.operation).toMatch(/^\/1\.0\/operations\//);
    expect((await world.db.select().from(instances))[0]).toMatchObject({
      name: 'build-7',
      config: { 'user.job': '7' },
    });
    expect(world.asked.delivered[0]?.command).toMatchObject({ name: 'instance.create', params: { start: true } });
    expect(await deliveriesOf('build')).toMatchObject([
      { id: 'msg_1', outcome: 'launched', status_code: 202, instance: 'build-7', operation: answer.body.operation },
    ]);
  });

  it('launches once, however often and however parallel it comes', async () => {
    const { url, secret } = await world.define({ ...SIMPLE, instance: { source: { alias: 'bb' } } });
    const headers = signStandard(secret, 'msg_1', NOW, body);
    const answers = await Promise.all(Array.from({ length: 50 }, () => world.deliver(url, body, headers)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map((answer) => answer.body.operation)).size).toBe(1);
    expect(await world.db.select().from(instances)).toHaveLength(1);
    expect(world.asked.delivered).toHaveLength(1);
    expect(world.asked.settled.length).toBe(world.asked.placed.length);
  });

  it('launches once also when the signature is renewed for the same id', async () => {
    const { url, secret } = await world.define(SIMPLE);
    await world.deliver(url, body, signStandard(secret, 'msg_1', NOW, body));
    world.clock.now = shiftIso(NOW, 3_600_000);
    const again = JSON.stringify({ job: 8 });
    const answer = await world.deliver(url, again, signStandard(secret, 'msg_1', world.clock.now, again));
    expect(answer.status).toBe(202);
    expect(await launched()).toEqual(['build-7']);
  });

  it.each([
    ['unsigned', () => ({})],
    ['signed with another secret', () => signStandard(`whsec_${Buffer.alloc(32).toString('base64')}`, 'm', NOW, body)],
    ['signed for another body', (secret: string) => signStandard(secret, 'm', NOW, '{"job":8}')],
    ['under another id', (secret: string) => ({ ...signStandard(secret, 'm', NOW, body), 'webhook-id': 'n' })],
    ['too old', (secret: string) => signStandard(secret, 'm', shiftIso(NOW, -301_000), body)],
    ['from the future', (secret: string) => signStandard(secret, 'm', shiftIso(NOW, 301_000), body)],
    [
      'with a later time put in',
      (secret: string) => ({
        ...signStandard(secret, 'm', shiftIso(NOW, -900_000), body),
        'webhook-timestamp': String(Date.parse(NOW) / 1000),
      }),
    ],
    ['with an id that ends in a piece of the time', (secret: string) => signStandard(secret, 'm.1', NOW, body)],
  ])('is refused %s, and that is recorded', async (_, headersOf) => {
    const { url, secret } = await world.define(SIMPLE);
    const answer = await world.deliver(url, body, headersOf(secret));
    expect([answer.status, answer.body.error_code]).toEqual([401, 401]);
    expect(await launched()).toEqual([]);
    expect(await deliveriesOf('build')).toMatchObject([{ outcome: 'refused', status_code: 401 }]);
  });

  it('is refused when it is repeated after the window, though it was good before', async () => {
    const { url, secret } = await world.define(SIMPLE);
    const headers = signStandard(secret, 'msg_1', NOW, body);
    expect((await world.deliver(url, body, headers)).status).toBe(202);
    world.clock.now = shiftIso(NOW, 301_000);
    expect((await world.deliver(url, body, headers)).status).toBe(401);
  });

  it('takes one good signature of several, and the old secret while it is kept', async () => {
    const { url, secret } = await world.define(SIMPLE);
    const other = signStandard(`whsec_${Buffer.alloc(32).toString('base64')}`, 'm1', NOW, body)['webhook-signature'];
    const headers = signStandard(secret, 'm1', NOW, body);
    const both = { ...headers, 'webhook-signature': `v1a,xyz ${other} ${headers['webhook-signature']}` };
    expect((await world.deliver(url, body, both)).status).toBe(202);

    const rotated = await world.call('POST', '/1.0/triggers/build/secret', { keep_old_for: '1H' });
    const next = JSON.stringify({ job: 8 });
    const sendWith = (key: string, id: string) =>
      world.deliver(url, next, signStandard(key, id, world.clock.now, next));
    expect((await sendWith(secret, 'm2')).status).toBe(202);
    world.clock.now = shiftIso(NOW, 3_601_000);
    expect((await sendWith(secret, 'm3')).status).toBe(401);
    expect((await sendWith(rotated.body.metadata.secret, 'm2')).status).toBe(202);
    expect(await launched()).toEqual(['build-7', 'build-8']);
  });

  it.each([
    ['is no JSON', 'job=7', 400],
    ['is no object', '7', 400],
    ['lacks the value', '{}', 422],
    ['has another type', '{"job":"7"}', 422],
    ['has an inherited name only', '{"__proto__":{"job":7}}', 422],
    ['has a large number', '{"job":1e15}', 202],
    ['has a number out of bounds', '{"job":-1}', 422],
  ])('whose payload %s is answered with the right status', async (_, text, status) => {
    const { url, secret } = await world.define(SIMPLE);
    const answer = await world.deliver(url, text, signStandard(secret, 'm', NOW, text));
    expect(answer.status).toBe(status);
    expect(await deliveriesOf('build')).toMatchObject([{ status_code: status }]);
  });

  it('is refused as unprocessable when the template cannot be carried out', async () => {
    const { url, secret } = await world.define({
      ...SIMPLE,
      instance: { ...SIMPLE.instance, source: { alias: 'gone' } },
    });
    const answer = await world.deliver(url, body, signStandard(secret, 'm', NOW, body));
    expect(answer).toMatchObject({ status: 422, body: { error: 'Image not found' } });
  });

  it('cannot make what somebody confined to the project could not', async () => {
    const config = { 'security.privileged': 'true' };
    const { url, secret } = await world.define({ ...SIMPLE, instance: { ...SIMPLE.instance, config } });
    const answer = await world.deliver(url, body, signStandard(secret, 'm', NOW, body));
    expect(answer).toMatchObject({ status: 422, body: { error: 'Privileged containers are forbidden' } });
  });

  it('lets nothing of the payload into a config that the pattern does not allow', async () => {
    const { url, secret } = await world.define({
      ...SIMPLE,
      parameters: { ...SIMPLE.parameters, label: { pointer: '/label', type: 'string', pattern: '[a-z0-9-]+' } },
      instance: { ...SIMPLE.instance, config: { 'user.label': '{{label}}', 'user.text': '{{ v1.jinja }}' } },
    });
    for (const [index, label] of ['a\nb', 'A', 'K', '{{job}}', '', 'a'.repeat(256), ['a'], null].entries()) {
      const text = JSON.stringify({ job: index, label });
      expect([label, (await world.deliver(url, text, signStandard(secret, `m${index}`, NOW, text))).status]).toEqual([
        label,
        422,
      ]);
    }
    const text = JSON.stringify({ job: 9, label: 'gpu-1', other: 'ignored' });
    expect((await world.deliver(url, text, signStandard(secret, 'm', NOW, text))).status).toBe(202);
    expect((await world.db.select().from(instances))[0]?.config).toMatchObject({
      'user.label': 'gpu-1',
      'user.text': '{{ v1.jinja }}',
    });
  });

  it('is refused by a disabled trigger, and unknown to an address that is none', async () => {
    const { url, secret } = await world.define({ ...SIMPLE, enabled: false });
    expect((await world.deliver(url, body, signStandard(secret, 'm', NOW, body))).status).toBe(403);
    expect((await world.deliver('https://x/hooks/nope', body)).status).toBe(404);
    const large = 'x'.repeat(1024 * 1024 + 1);
    expect((await world.deliver(url, large, signStandard(secret, 'm', NOW, large))).status).toBe(413);
  });

  it('can be sent again after it was refused for want of a member', async () => {
    const { url, secret } = await world.define(SIMPLE);
    const headers = signStandard(secret, 'm', NOW, body);
    const place = world.objects.cluster.place;
    world.objects.cluster.place = () => Promise.reject(unavailable('No suitable cluster member could be found'));
    const refusal = await world.deliver(url, body, headers);
    expect([refusal.status, refusal.headers.get('retry-after')]).toEqual([503, '1']);
    world.objects.cluster.place = place;
    expect((await world.deliver(url, body, headers)).status).toBe(202);
    expect(await launched()).toEqual(['build-7']);
  });

  it('is refused unchecked after some bad ones from the same address, for a minute, others are not', async () => {
    const { url, secret } = await world.define(SIMPLE);
    const from = (address: string, headers = {}) => world.deliver(url, body, headers, address);
    for (let i = 0; i < 8; i++) expect((await from('203.0.113.1')).status).toBe(401);
    const good = signStandard(secret, 'm', NOW, body);
    const limited = await from('203.0.113.1', good);
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '60']);
    expect((await from('203.0.113.2', good)).status).toBe(202);
    world.clock.now = shiftIso(NOW, 61_000);
    expect((await from('203.0.113.1', good)).status).toBe(202);
  });

  it('of a stranger is recorded only so often', async () => {
    const { url } = await world.define(SIMPLE);
    for (let i = 0; i < 40; i++) expect((await world.deliver(url, body, {}, `203.0.113.${i}`)).status).toBe(401);
    expect(await deliveriesOf('build')).toHaveLength(30);
  });
});

describe('limits of a trigger', () => {
  const send = (to: { url: string; secret: string }, job: number) => {
    const text = JSON.stringify({ job });
    return world.deliver(to.url, text, signStandard(to.secret, `m${job}`, world.clock.now, text));
  };

  it('hold for deliveries that come at the same time', async () => {
    const to = await world.define({ ...SIMPLE, limits: { concurrency: 3 } });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, job) => send(to, job)));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(3);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(9);
    expect(await launched()).toHaveLength(3);
  });

  it('make room when an instance is gone', async () => {
    const to = await world.define({ ...SIMPLE, limits: { concurrency: 1 } });
    expect((await send(to, 1)).status).toBe(202);
    const full = await send(to, 2);
    expect([full.status, full.headers.get('retry-after')]).toEqual([429, '30']);
    await world.db.delete(instances);
    expect((await send(to, 2)).status).toBe(202);
  });

  it('count launches within the hour, and say when the next may be', async () => {
    const to = await world.define({ ...SIMPLE, limits: { per_hour: 2 } });
    expect((await send(to, 1)).status).toBe(202);
    world.clock.now = shiftIso(NOW, 600_000);
    expect((await send(to, 2)).status).toBe(202);
    const full = await send(to, 3);
    expect([full.status, full.headers.get('retry-after')]).toEqual([429, '3000']);
    world.clock.now = shiftIso(NOW, 3_600_000);
    expect((await send(to, 3)).status).toBe(202);
  });
});

describe('the time to live', () => {
  it('asks for sweeps while an instance with one exists', async () => {
    for (const ttl of [undefined, '1H']) {
      const to = await world.define({ ...SIMPLE, name: `t-${ttl}`, limits: ttl === undefined ? {} : { ttl } });
      const text = JSON.stringify({ job: ttl === undefined ? 1 : 2 });
      await world.deliver(to.url, text, signStandard(to.secret, 'm', NOW, text));
      expect(await isSweepNeeded(world.db)).toBe(ttl !== undefined);
    }
    await world.db.delete(instances);
    expect(await isSweepNeeded(world.db)).toBe(false);
  });

  it('ends what runs, then what is stopped, and leaves the rest alone', async () => {
    const to = await world.define({ ...SIMPLE, limits: { ttl: '1H' } });
    const text = JSON.stringify({ job: 1 });
    await world.call('POST', '/1.0/instances', { name: 'other', source: { type: 'image', alias: 'bb' } });
    await world.deliver(to.url, text, signStandard(to.secret, 'm', NOW, text));
    const asked = () => world.asked.delivered.map(({ command }) => command.name);
    const answered = async (status: 'Running' | 'Stopped') => {
      await world.db.update(commands).set({ status: 'done' });
      await world.db.update(instances).set({ status });
    };
    await answered('Running');
    await endOverdue(world.ctx);
    expect(asked()).toEqual(['instance.create', 'instance.create']);
    world.clock.now = shiftIso(NOW, 3_600_000);
    await endOverdue(world.ctx);
    // While the first stop is under way there is no second.
    await endOverdue(world.ctx);
    expect(asked().slice(2)).toEqual(['instance.state']);
    await answered('Stopped');
    await endOverdue(world.ctx);
    await endOverdue(world.ctx);
    expect(world.asked.delivered.slice(3)).toMatchObject([
      { command: { name: 'instance.delete', params: { ref: { name: 'build-1' } } } },
    ]);
  });

  it('waits for a member that is away', async () => {
    const to = await world.define({ ...SIMPLE, limits: { ttl: '1H' } });
    const text = JSON.stringify({ job: 1 });
    await world.deliver(to.url, text, signStandard(to.secret, 'm', NOW, text));
    await world.db.update(commands).set({ status: 'done' });
    await world.db.update(members).set({ online: false });
    world.clock.now = shiftIso(NOW, 3_600_000);
    await endOverdue(world.ctx);
    expect(world.asked.delivered).toHaveLength(1);
    await world.db.update(members).set({ online: true });
    await endOverdue(world.ctx);
    expect(world.asked.delivered).toHaveLength(2);
  });
});

describe('CI runners of GitHub', () => {
  const send = (to: { url: string; secret: string }, id: string, event: string, body: string) =>
    world.deliver(to.url, body, signGithub(to.secret, id, event, body));

  it('live from the queued job to the completed one', async () => {
    const to = await world.define(RUNNER);
    expect((await send(to, 'd0', 'ping', '{"zen":"x"}')).body.metadata).toMatchObject({ outcome: 'ignored' });
    expect((await send(to, 'd1', 'workflow_job', workflowJob(11, 'queued'))).status).toBe(202);
    expect(await world.db.select().from(instances)).toMatchObject([
      { name: 'runner-11', ephemeral: true, config: { 'user.repository': 'acme/site' } },
    ]);
    expect((await world.db.select().from(triggerLaunches))[0]?.expiresAt).toBe(shiftIso(NOW, 7_200_000));
    expect((await send(to, 'd2', 'workflow_job', workflowJob(11, 'in_progress'))).body.metadata.outcome).toBe(
      'ignored',
    );
    // The host has answered: it runs.
    await world.db.update(commands).set({ status: 'done' });
    await world.db.update(instances).set({ status: 'Running' });
    const ended = await send(to, 'd3', 'workflow_job', workflowJob(11, 'completed'));
    expect(ended.status).toBe(202);
    expect(world.asked.delivered.at(-1)?.command).toMatchObject({
      name: 'instance.state',
      params: { action: 'stop', force: true },
    });
    expect((await deliveriesOf('runner')).map((delivery: { outcome: string }) => delivery.outcome)).toEqual([
      'deleted',
      'ignored',
      'launched',
      'ignored',
    ]);
  });

  it('are not launched for a job that was over before', async () => {
    const to = await world.define(RUNNER);
    const first = await send(to, 'd1', 'workflow_job', workflowJob(12, 'completed'));
    expect(first.body.metadata).toMatchObject({ outcome: 'absent', instance: 'runner-12' });
    expect((await send(to, 'd2', 'workflow_job', workflowJob(12, 'queued'))).body.metadata.outcome).toBe('ignored');
    expect(await launched()).toEqual([]);
  });

  it('are launched once for a body, whatever id it is repeated under', async () => {
    const to = await world.define(RUNNER);
    const body = workflowJob(13, 'queued');
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => send(to, `d${i}`, 'workflow_job', body)));
    expect(new Set(answers.map((answer) => answer.body.operation)).size).toBe(1);
    expect(await launched()).toEqual(['runner-13']);
  });

  it('are not launched for a job that was queued long ago, or a forged one', async () => {
    const to = await world.define(RUNNER);
    const old = workflowJob(14, 'queued', shiftIso(NOW, -3_601_000));
    expect((await send(to, 'd1', 'workflow_job', old)).status).toBe(401);
    expect(
      (await send({ ...to, secret: 'x'.repeat(64) }, 'd2', 'workflow_job', workflowJob(15, 'queued'))).status,
    ).toBe(401);
    expect((await world.deliver(to.url, workflowJob(15, 'queued'), { 'x-github-event': 'workflow_job' })).status).toBe(
      401,
    );
    expect(await launched()).toEqual([]);
  });

  it('touch no instance but their own', async () => {
    await world.call('POST', '/1.0/instances', { name: 'runner-16', source: { type: 'image', alias: 'bb' } });
    const to = await world.define(RUNNER);
    const ended = await send(to, 'd1', 'workflow_job', workflowJob(16, 'completed'));
    expect(ended.body.metadata.outcome).toBe('absent');
    expect((await send(to, 'd2', 'workflow_job', workflowJob(17, 'queued'))).status).toBe(202);
    expect(await launched()).toEqual(['runner-16', 'runner-17']);
  });
});
