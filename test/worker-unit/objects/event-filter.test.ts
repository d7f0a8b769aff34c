import { describe, expect, it } from 'vitest';
import { accessTokenRoutes } from '#worker/http/routes/access-tokens.ts';
import type { ClusterEvent, EventFilter } from '#worker/objects/contract.ts';
import { shownTo } from '#worker/objects/event-filter.ts';
import { openApi } from '../http/api.ts';

const FULL: EventFilter = { types: null, project: null, admin: true };
const LOOKING: EventFilter = { ...FULL, readOnly: true };

const running: ClusterEvent = {
  type: 'operation',
  timestamp: '2026-11-21T12:00:00.000Z',
  location: 'm1',
  project: 'default',
  metadata: { id: 'exec', metadata: { command: ['sh'], fds: { '0': 'secret', control: 'secret' } } },
};

describe('an operation that has streams', () => {
  it('is told to who may only look without what opens them, and whole to the others', () => {
    expect(JSON.stringify(shownTo(LOOKING, running))).not.toContain('secret');
    expect(shownTo(LOOKING, running).metadata).toEqual({ id: 'exec', metadata: { command: ['sh'] } });
    expect(shownTo(FULL, running)).toBe(running);
  });

  it('is not touched when there is nothing to hide', () => {
    for (const metadata of [{ id: 'x', metadata: null }, { id: 'x', metadata: { fs_progress: '1%' } }, { id: 'x' }])
      expect(shownTo(LOOKING, { ...running, metadata }).metadata).toEqual(metadata);
    const lifecycle: ClusterEvent = { ...running, type: 'lifecycle', metadata: { action: 'instance-created' } };
    expect(shownTo(LOOKING, lifecycle)).toBe(lifecycle);
  });
});

it('a read-only token listens as one who may only look', async () => {
  const api = await openApi(accessTokenRoutes);
  const issue = async (scope: string) =>
    (await api.call('POST', '/1.0/auth/tokens', { body: { name: 'x', scope } })).body.metadata.token as string;
  for (const scope of ['read-only', 'full']) {
    const headers = { authorization: `Bearer ${await issue(scope)}`, upgrade: 'websocket' };
    expect((await api.call('GET', '/1.0/events?all-projects=true', { as: 'nobody', headers })).status).toBe(204);
  }
  expect(api.asked.listening).toEqual([LOOKING, FULL]);
});
