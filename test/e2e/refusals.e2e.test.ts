/** Bad input is refused in LXD's error form, at once or by the operation, and leaves nothing behind. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiAnswer, api } from './api.ts';
import { takeQuietSnapshot, takeSnapshot } from './leftovers.ts';
import { refusedInstances } from './refusals/instances.ts';
import { REFUSED_RESOURCES } from './refusals/resources.ts';
import { lxc, newName, removeInstances } from './support.ts';

const good = newName('refusals');
let before: unknown;
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', good)).code).toBe(0);
  before = await takeQuietSnapshot();
});
afterAll(() => removeInstances([good]));

/** The refusal itself, or that of the operation that it became. */
async function refusalOf(answer: ApiAnswer): Promise<{ code: number; error: string }> {
  if (answer.status !== 202) return { code: answer.body.error_code ?? 0, error: answer.body.error ?? '' };
  const ended = await api({ method: 'GET', path: `${answer.body.operation}/wait?timeout=30` });
  const operation = ended.body.metadata as { status_code: number; err: string };
  return { code: operation.status_code === 400 ? 400 : 0, error: operation.err };
}

describe('bad input', () => {
  it.each([...refusedInstances(good), ...REFUSED_RESOURCES])('refuses %s', async (_case, request, status, text) => {
    const answer = await api(request);
    const refusal = await refusalOf(answer);
    expect([status].flat()).toContain(refusal.code);
    expect(refusal.error).toMatch(text);
    if (answer.status !== 202) {
      expect(answer.body).toMatchObject({ type: 'error', error_code: answer.status, metadata: null });
    }
    // What one case leaves behind is that case's fault alone.
    const left = before;
    before = await takeSnapshot();
    expect(before).toEqual(left);
  });

  it.each([
    ['GET', '/1.0/instances'],
    ['POST', '/1.0/instances'],
    ['GET', '/1.0/cluster/members'],
    ['DELETE', '/1.0/storage-pools/default'],
    ['GET', '/1.0/operations'],
    ['PUT', '/1.0'],
  ])('answers an untrusted %s %s with 403', async (method, path) => {
    const answer = await api({ method, path, anonymous: true, body: method === 'GET' ? undefined : '{}' });
    expect(answer).toMatchObject({ status: 403, body: { type: 'error', error: 'not authorized' } });
  });

  it('shows an untrusted caller LXD’s short form of /1.0 only', async () => {
    const { body } = await api({ method: 'GET', path: '/1.0', anonymous: true });
    expect(Object.keys(body.metadata as object).sort()).toEqual([
      'api_extensions',
      'api_status',
      'api_version',
      'auth',
      'auth_methods',
      'public',
    ]);
  });
});
