import { env, runDurableObjectAlarm } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import type { Env } from '#worker/env.ts';
import { createObjects } from '#worker/objects/client.ts';
import type { ClusterEvent, EventFilter } from '#worker/objects/contract.ts';

const bindings = env as unknown as Env;
const objects = createObjects(bindings, { linkShards: 1 });
const stub = () => bindings.CLUSTER.get(bindings.CLUSTER.idFromName('cluster'));

const T0 = '2026-11-21T10:00:00.000Z';
const lifecycle = (action: string, project?: string): ClusterEvent => ({
  type: 'lifecycle',
  timestamp: T0,
  location: 'm1',
  ...(project === undefined ? {} : { project }),
  metadata: { action, source: '/1.0/x' },
});
const operation = (id: string, code: number): ClusterEvent => ({
  type: 'operation',
  timestamp: T0,
  location: 'm1',
  project: 'default',
  metadata: { id, status_code: code },
});

/** A listener: the texts it got so far, and a wait for the next. */
async function listen(filter: EventFilter, headers: Record<string, string> = {}) {
  const request = new Request('https://longshore/1.0/events', { headers: { upgrade: 'websocket', ...headers } });
  const { webSocket, status } = await objects.cluster.connectEvents(request, filter);
  if (webSocket === null) throw new Error(`no upgrade: ${status}`);
  const texts: string[] = [];
  const waiting: (() => void)[] = [];
  webSocket.addEventListener('message', ({ data }) => {
    texts.push(String(data));
    for (const wake of waiting.splice(0)) wake();
  });
  webSocket.accept();
  return {
    close: () => webSocket.close(1000),
    async until(text: string) {
      while (!texts.some((entry) => entry.includes(text))) await new Promise<void>((wake) => waiting.push(wake));
      return texts;
    },
  };
}

const actions = (texts: string[]) =>
  texts.map((text): string => {
    const { metadata } = JSON.parse(text);
    return metadata?.action ?? metadata?.id ?? 'keep-alive';
  });

describe('the events websocket', () => {
  it('passes to each listener the types and projects it asked for, and logging to administrators', async () => {
    const logging: ClusterEvent = { type: 'logging', timestamp: T0, location: 'm1', metadata: { message: 'log' } };
    const all = await listen({ types: null, project: null, admin: true });
    const own = await listen({ types: null, project: 'p1', admin: false });
    const typed = await listen({ types: ['operation'], project: null, admin: true });
    await objects.cluster.publish([
      lifecycle('of-p1', 'p1'),
      lifecycle('of-p2', 'p2'),
      logging,
      lifecycle('of-none'),
      operation('op-x', 103),
      lifecycle('last'),
      operation('op-last', 103),
    ]);
    expect(actions(await all.until('op-last'))).toHaveLength(7);
    expect(actions(await own.until('last'))).toEqual(['of-p1', 'of-none', 'last']);
    expect(actions(await typed.until('op-last'))).toEqual(['op-x', 'op-last']);
    for (const { close } of [all, own, typed]) close();
  });

  it('does not believe a filter that the client sends', async () => {
    const claim = JSON.stringify({ types: null, project: null, admin: true });
    const listener = await listen({ types: null, project: 'p1', admin: false }, { 'x-longshore-event-filter': claim });
    await objects.cluster.publish([lifecycle('secret', 'p2'), lifecycle('open', 'p1')]);
    expect(actions(await listener.until('open'))).toEqual(['open']);
    listener.close();
  });

  it('is kept alive by an empty event when the alarm rings', async () => {
    const listener = await listen({ types: ['operation'], project: null, admin: false });
    expect(await runDurableObjectAlarm(stub())).toBe(true);
    expect(await listener.until('{}')).toEqual(['{}']);
    listener.close();
  });

  it('refuses a plain request', async () => {
    expect((await stub().fetch('https://longshore/1.0/events')).status).toBe(400);
  });
});

describe('waiting for an operation', () => {
  it('ends with its final event, not with one of another or before', async () => {
    const id = crypto.randomUUID();
    const order: string[] = [];
    const waiter = objects.cluster.waitOperation(id, 60_000).then(() => order.push('woken'));
    await objects.cluster.publish([operation(id, 103), operation(crypto.randomUUID(), 200)]);
    order.push('published');
    await objects.cluster.publish([operation(id, 400)]);
    await waiter;
    expect(order).toEqual(['published', 'woken']);
  });

  it('ends at once when the final event has just passed', async () => {
    const id = crypto.randomUUID();
    await objects.cluster.publish([operation(id, 200)]);
    await objects.cluster.waitOperation(id, 60_000);
  });

  it('ends after its time', async () => {
    await objects.cluster.waitOperation(crypto.randomUUID(), 10);
  });
});

describe('placing', () => {
  it('without a database is unavailable, as an error of ours', async () => {
    const request = {
      instanceId: crypto.randomUUID(),
      project: 'default',
      name: 'c1',
      architecture: 'x86_64',
      pool: 'local',
      networks: [],
      imageFingerprint: null,
      memoryBytes: 0,
      target: null,
    };
    await expect(objects.cluster.place(request)).rejects.toMatchObject({ code: 'unavailable', status: 503 });
  });
});
