import { eq } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import type { Caller } from '#worker/http/auth.ts';
import { answerEarly } from '#worker/http/early.ts';
import { certificates, projects } from '#worker/state/schema.ts';
import { addOperation } from '../state/helpers.ts';
import { makeClient, openApi, trust } from './api.ts';

const caller = (username: string, allowed: string[] | null): Caller => ({
  principal: { protocol: 'tls', username, address: '', projects: allowed, member: null },
  trusted: true,
  metrics: false,
  readOnly: false,
  peer: null,
});
const tell = async ({ principal }: Caller) => new Response(JSON.stringify(principal.projects));

describe('an answer that was prepared for who called the last time', () => {
  it('is given when the caller is the same', async () => {
    const made: Caller[] = [];
    const answer = await answerEarly(caller('a', null), Promise.resolve(caller('a', null)), (who) => {
      made.push(who);
      return tell(who);
    });
    expect([await answer.text(), made.length]).toEqual(['null', 1]);
  });

  it('is made anew for a caller with other rights', async () => {
    const answer = await answerEarly(caller('a', null), Promise.resolve(caller('a', ['p'])), tell);
    expect(await answer.text()).toBe('["p"]');
  });

  it('never leaves before the caller is known, nor when the lookup fails', async () => {
    let letIn = (_: Caller) => {};
    const authenticated = new Promise<Caller>((resolve) => {
      letIn = resolve;
    });
    let given = false;
    const answer = answerEarly(caller('a', null), authenticated, tell).then(() => {
      given = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(given).toBe(false);
    letIn(caller('a', null));
    await answer;
    const away = Promise.reject(new Error('away'));
    await expect(answerEarly(caller('a', null), away, tell)).rejects.toThrow('away');
  });

  it('does not outlive the trust in a certificate, nor its rights', async () => {
    const api = await openApi();
    const client = await makeClient('client@host');
    await trust(api.db, client);
    await api.db.insert(projects).values({ name: 'p1', config: {} });
    await addOperation(api.db, 'op-default');
    const list = () => api.call('GET', '/1.0/operations', { as: client });
    expect((await list()).status).toBe(200);

    const own = eq(certificates.fingerprint, client.fingerprint);
    await api.db
      .update(certificates)
      .set({ restricted: true, projects: ['p1'] })
      .where(own);
    expect((await list()).status).toBe(403);
    expect((await api.call('GET', '/1.0/operations?project=p1', { as: client })).status).toBe(200);

    await api.db.delete(certificates).where(own);
    expect((await api.call('GET', '/1.0/operations?project=p1', { as: client })).status).toBe(403);
  });
});
