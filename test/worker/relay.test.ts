import { describe, expect, it } from 'vitest';
import { AppError, notFound } from '#protocol/errors.ts';
import { LAST_PART_HEADER } from '#protocol/stream.ts';
import { Relay, type RelayEnds } from '#worker/objects/relay.ts';
import type { MoveSide } from '#worker/state/instance-move.ts';

const SOURCE: MoveSide = { member: 'host1', commandId: 'send', role: 'source', peer: 'host2', peerStands: true };
const TARGET: MoveSide = { member: 'host2', commandId: 'receive', role: 'target', peer: 'host1', peerStands: true };

/** The two agents' requests to one relay. */
function openRelay(sides: { source?: MoveSide; target?: MoveSide } = {}, ends: Partial<RelayEnds> = {}) {
  const relay = new Relay({ reset: () => {}, cancel: () => {}, ...ends });
  const { source = SOURCE, target = TARGET } = sides;
  const request = (side: MoveSide, method: string, what: string, init: RequestInit = {}) =>
    relay.serve(new Request(`https://longshore/agent/stream/s/${what}`, { method, ...init }), side, async () => side);
  return {
    relay,
    content: () => request(target, 'GET', 'content'),
    peer: () => request(source, 'GET', 'peer'),
    part: (body: BodyInit, last = false) =>
      request(source, 'PUT', 'content', { body, headers: last ? { [LAST_PART_HEADER]: '1' } : {} }),
    outcome: (side: MoveSide, message: string) =>
      request(side, 'POST', 'outcome', { body: JSON.stringify({ error: { code: 'failed', message } }) }),
    wrong: () => request(target, 'PUT', 'content', { body: 'x' }),
  };
}

const refusal = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  return error instanceof AppError ? error.message : String(error);
};

describe('a moving instance', () => {
  it('passes from one agent to the other, part after part', async () => {
    const { content, peer, part } = openRelay();
    const waiting = peer();
    const received = (await content()).text();
    expect((await waiting).status).toBe(204);
    expect((await part('first ')).status).toBe(204);
    expect((await part('second ')).status).toBe(204);
    expect((await part('last', true)).status).toBe(204);
    expect(await received).toBe('first second last');
  });

  it('is not begun before the target is there', async () => {
    const { content, peer, part } = openRelay();
    expect(await refusal(part('early'))).toMatch(/part/);
    let hasCome = false;
    const waiting = peer().then(() => {
      hasCome = true;
    });
    await Promise.resolve();
    expect(hasCome).toBe(false);
    await (await content()).body?.cancel();
    await waiting;
  });

  it('ends for both with the reason of the side that gives up first', async () => {
    const { content, peer, outcome, part } = openRelay();
    const received = (await content()).text();
    await peer();
    expect((await outcome(TARGET, 'pool is full')).status).toBe(204);
    expect(await refusal(part('more'))).toBe('pool is full');
    expect(await refusal(outcome(SOURCE, 'and I am cut off'))).toBe('pool is full');
    expect(await refusal(content())).toBe('pool is full');
    // Without the end that whole content has in it.
    expect(await received).toBe('');
  });

  it('waits for nobody who has ended already', async () => {
    const { peer } = openRelay({ source: { ...SOURCE, peerStands: false } });
    expect(await refusal(peer())).toBe('Cluster member "host2" has given up');
    const { content } = openRelay({ target: { ...TARGET, peerStands: false } });
    const response = await content().catch((error: unknown) => error);
    if (response instanceof Response) expect(await response.text()).toBe('');
    expect(await refusal(content())).toBe('Cluster member "host1" has given up');
  });

  it('ends when the source goes between two of its requests', async () => {
    const source = { ...SOURCE };
    const target = { ...TARGET };
    const { content, peer } = openRelay({ source, target });
    const received = (await content()).text();
    await peer();
    target.peerStands = false;
    expect(await received).toBe('');
    expect(await refusal(content())).toBe('Cluster member "host1" has given up');
  });

  it('ends short for the target when the source breaks off in a part', async () => {
    const { content, peer, part } = openRelay();
    const received = (await content()).text();
    await peer();
    const half = [new TextEncoder().encode('half')];
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const bytes = half.shift();
        if (bytes === undefined) controller.error(new Error('cut'));
        else controller.enqueue(bytes);
      },
    });
    const sent = refusal(part(body));
    expect(await sent).toBe('The transfer broke off');
    expect(await received).toBe('half');
  });

  it('asks the target to end when the source gives up in the middle of a part', async () => {
    const cancelled: MoveSide[] = [];
    const { content, peer, part, outcome } = openRelay({}, { cancel: (side) => void cancelled.push(side) });
    const received = (await content()).text();
    await peer();
    let cut = () => {};
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        cut = () => controller.close();
      },
    });
    const sent = refusal(part(body));
    await outcome(SOURCE, 'out of order');
    expect(cancelled).toEqual([TARGET]);
    cut();
    expect(await sent).toBe('out of order');
    expect(await received).toBe('');
  });

  it('is served to each side in its own part only', async () => {
    const { wrong, relay } = openRelay();
    expect(await refusal(wrong())).toMatch(/no such part/);
    relay.fail(notFound('Stream'));
    expect(await refusal(wrong())).toBe('Stream not found');
  });
});
