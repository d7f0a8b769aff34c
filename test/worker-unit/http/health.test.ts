import { describe, expect, it } from 'vitest';
import { unavailable } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import { createBase } from '#worker/http/base.ts';
import { healthRoutes } from '#worker/http/routes/health.ts';
import { createLogger } from '#worker/lib/log.ts';
import type { Context } from '#worker/services/context.ts';
import { openTestDb } from '../state/helpers.ts';

async function open(broken: boolean) {
  const db = await openTestDb();
  const lines: string[] = [];
  const failing = new Proxy(db, {
    get: (target, property) =>
      property === 'all' ? () => Promise.reject(unavailable('away')) : Reflect.get(target, property, target),
  });
  const app = createBase((_env, requestId) => {
    const log = createLogger('debug', { requestId }, (_level, line) => lines.push(line));
    return { db: broken ? failing : db, log } as Context;
  });
  healthRoutes(app);
  const ask = (path: string) => app.fetch(new Request(`https://cluster${path}`), {} as Env);
  return { ask, lines };
}

describe('health', () => {
  it('is told to anybody', async () => {
    const { ask } = await open(false);
    for (const path of ['/healthz', '/readyz']) {
      const answer = await ask(path);
      expect([path, answer.status, await answer.text()]).toEqual([path, 200, 'ok\n']);
    }
  });

  it('is alive but not ready without a database', async () => {
    const { ask } = await open(true);
    expect((await ask('/healthz')).status).toBe(200);
    const answer = await ask('/readyz');
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
  });

  it('requests are logged with their id and without their query', async () => {
    const { ask, lines } = await open(false);
    await ask('/healthz?secret=abc');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      {
        event: 'http.answered',
        method: 'GET',
        path: '/healthz',
        status: 200,
        requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      },
    ]);
    expect(lines.join()).not.toContain('abc');
  });
});
