/** Every frame, both ways, from the schemas and with something wrong at any place: nothing throws, nothing stops. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { COMMANDS } from '#protocol/commands.ts';
import { AppError } from '#protocol/errors.ts';
import { AgentFrame, ControlFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { JoinPlanRequest, JoinRequest, JoinTokenRequest } from '#protocol/join.ts';
import { QUERIES } from '#protocol/queries.ts';
import { AgentStreamFrame } from '#protocol/stream.ts';
import { residentBytes } from '#selfhost/processes.ts';
import { parseWith } from '#worker/http/body.ts';
import { parseWellFormed } from '#worker/lib/json.ts';
import { parseFrame } from '#worker/objects/link-sockets.ts';
import { type AgentSocket, connectAgent, giveKey, openSocket } from './agent.ts';
import { arbitraryOf } from './arbitrary.ts';
import { tried } from './client.ts';
import { fuzz, SEED } from './fuzz.ts';
import { type Plane, startPlane } from './plane.ts';
import { listRoutes } from './routes.ts';

afterAll(() => {
  console.log(`frames and bodies: ${tried.parsed} parsed, ${tried.frames} sent over a link, seed ${SEED}`);
});

describe('what is parsed', () => {
  it('is a frame of an agent, or an error for it', () => {
    fuzz(arbitraryOf(AgentFrame), 6_000, (value) => {
      const parsed = parseFrame(JSON.stringify(value) ?? '');
      if ('error' in parsed) expect(parsed.error).toEqual({ code: 'bad_request', message: expect.any(String) });
      else expect(AgentFrame.safeParse(parsed.frame).success).toBe(true);
    });
    fuzz(fc.string({ unit: 'binary', maxLength: 200 }), 1_000, (text) => {
      expect(parseFrame(text)).toMatchObject({ error: { code: 'bad_request' } });
    });
  });

  it('takes valid frames of each kind', () => {
    const seen = new Set<string>();
    fuzz(arbitraryOf(AgentFrame, { hostile: false }), 500, (value) => {
      const parsed = parseFrame(JSON.stringify(value));
      if ('frame' in parsed) seen.add(parsed.frame.type);
    });
    expect(seen.size).toBe(AgentFrame.options.length);
  });

  it.each([
    ['a frame of the control plane', ControlFrame, 3_000],
    ['a frame of a stream', AgentStreamFrame, 1_000],
    ['a request to join', JoinRequest, 500],
    ['a request for a plan', JoinPlanRequest, 300],
    ['a request for a token', JoinTokenRequest, 300],
    ...Object.entries(COMMANDS).flatMap(([name, { params, result }]): [string, z.ZodType, number][] => [
      [`parameters of ${name}`, params, 150],
      [`a result of ${name}`, result, 100],
    ]),
    ...Object.entries(QUERIES).flatMap(([name, { params, result }]): [string, z.ZodType, number][] => [
      [`the question ${name}`, params, 100],
      [`an answer to ${name}`, result, 100],
    ]),
    ...listRoutes().flatMap(({ id, body }): [string, z.ZodType, number][] => (body === null ? [] : [[id, body, 60]])),
  ])('is %s, or a refusal that may be shown', (_, schema: z.ZodType, count) => {
    fuzz(arbitraryOf(schema), count, (value) => {
      try {
        parseWith(schema, parseWellFormed(JSON.stringify(value) ?? 'null'));
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'bad_request') throw error;
      }
    });
  });
});

describe('a link', () => {
  let plane: Plane;
  let key: Awaited<ReturnType<typeof giveKey>>;
  let link: AgentSocket;
  let epoch = 1;

  beforeAll(async () => {
    plane = await startPlane();
    key = await giveKey(plane, 'm1');
    link = await connectAgent(plane, { member: 'm1', key });
    await link.next('welcome');
  }, 120_000);
  afterAll(async () => {
    link?.close();
    await plane?.stop();
  });

  const isAlive = async () => {
    expect(link.closed()).toBeNull();
    const { status } = await plane.as(plane.admin).send({ method: 'GET', path: '/1.0/instances?recursion=2' });
    expect(status).toBe(200);
  };

  it('stays up whatever its agent sends', async () => {
    const pid = plane.control.workerPid();
    const sizes: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      const values = fc.sample(arbitraryOf(AgentFrame), { numRuns: 150, seed: SEED + round });
      for (const value of values) link.send(JSON.stringify(value) ?? 'null');
      await link.settled();
      sizes.push(residentBytes(pid ?? 0));
      await isAlive();
    }
    expect(plane.control.workerPid()).toBe(pid);
    // After the first rounds have filled what is kept in memory.
    expect((sizes.at(-1) ?? 0) - (sizes[4] ?? 0)).toBeLessThan(64 * 2 ** 20);
  });

  it.each([
    ['bytes', Buffer.from([0, 255, 1])],
    ['a frame that is too large', `{"type":"ack","id":"${'x'.repeat(FRAME_LIMIT_BYTES)}"}`],
    ['depth', `{"type":"answer","id":"x","outcome":{"ok":true,"result":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`],
    [
      'half surrogates',
      '{"type":"inventory","full":false,"instances":[{"project":"\\ud800","name":"\\udfff","status":"Stopped","state":null}]}',
    ],
    [
      'NUL',
      '{"type":"inventory","full":false,"instances":[{"project":"a\\u0000","name":"\\u0000","status":"Stopped","state":null}]}',
    ],
    ['a second hello', '{"type":"hello"}'],
    ['nothing', ''],
  ])('stays up after %s', async (_, frame) => {
    link.send(frame);
    await link.settled();
    await isAlive();
  });

  it('is not had by anything but a proof', async () => {
    const values = fc.sample(arbitraryOf(AgentFrame), { numRuns: 150, seed: SEED });
    for (let at = 0; at < values.length; at += 10) {
      await Promise.all(
        values.slice(at, at + 10).map(async (value) => {
          const stranger = await openSocket(plane, 'm1');
          stranger.send(JSON.stringify(value) ?? 'null');
          stranger.send({ type: 'inventory', full: true, instances: [] });
          await stranger.settled();
          expect(stranger.frames.map(({ type }) => type)).not.toContain('welcome');
          stranger.close();
        }),
      );
    }
    await isAlive();
  });

  it('is had again after all that, with what waited', async () => {
    link.close();
    epoch += 1;
    link = await connectAgent(plane, { member: 'm1', key, epoch });
    await link.next('welcome');
    await isAlive();
  });
});
