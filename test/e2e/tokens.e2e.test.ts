/** Bearer tokens: issued and revoked by the product's own command on a host, used over HTTPS without any certificate. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiAnswer, api } from './api.ts';
import { cluster, lxc, newName, waitFor } from './support.ts';

const project = newName('tokens');
const instance = newName('by-token');
const issued: string[] = [];

/** On a host, through its agent's socket. */
const longshore = (...args: string[]) => cluster.host(2).exec([process.execPath, cluster.program, 'token', ...args]);

async function issue(...args: string[]): Promise<{ name: string; token: string }> {
  const name = newName('token');
  const { stdout, stderr, code } = await longshore('issue', name, ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('It is shown this once') });
  issued.push(name);
  // The token alone, so that a script can take it.
  expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  return { name, token: stdout.trim() };
}

const bear = (token: string, method: string, path: string, body?: unknown): Promise<ApiAnswer> =>
  api({
    method,
    path,
    anonymous: true,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

const DENIED = { status: 403, body: { type: 'error', error_code: 403, error: 'not authorized' } };

beforeAll(async () => {
  const flags = ['-c', 'features.images=false', '-c', 'features.profiles=false'];
  expect(await lxc('project', 'create', project, ...flags)).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await lxc('delete', '--force', instance, '--project', project);
  await lxc('project', 'delete', project);
  const left = (await longshore('list')).stdout.split('\n');
  for (const name of issued) if (left.some((line) => line.includes(name))) await longshore('revoke', name);
});

describe('bearer tokens', () => {
  it('open the API to who has no certificate, until they are revoked', async () => {
    const { name, token } = await issue('--expiry', '1d');
    const { stdout } = await longshore('list');
    expect(stdout.split('\n')[0]).toMatch(/^ID +NAME +SCOPE +PROJECTS +EXPIRES AT$/);
    expect(stdout).toMatch(new RegExp(`^[0-9a-f-]{36}  ${name} +full +\\(all\\) +20`, 'm'));
    expect(stdout).not.toContain(token);
    const { body } = await bear(token, 'GET', '/1.0');
    expect(body.metadata).toMatchObject({ auth: 'trusted', auth_user_method: 'token' });
    expect((await bear(token, 'GET', '/1.0/cluster/members')).body.metadata).toHaveLength(3);
    const revoked = await longshore('revoke', name);
    expect(revoked.stdout).toMatch(new RegExp(`^Token [0-9a-f-]{36} \\("${name}"\\) is revoked\n$`));
    expect(await bear(token, 'GET', '/1.0/cluster/members')).toMatchObject(DENIED);
    expect((await bear(token, 'GET', '/1.0')).body.metadata).toMatchObject({ auth: 'untrusted' });
    expect(await longshore('revoke', name)).toMatchObject({ code: 1, stderr: 'Error: Token not found\n' });
  });

  it('launch and delete in their project, and get into no other', async () => {
    const { token } = await issue('--projects', project);
    const instances = `/1.0/instances?project=${project}`;
    const request = { name: instance, source: { type: 'image', alias: 'tiny' }, start: true };
    expect((await bear(token, 'POST', instances, request)).status).toBe(202);
    const path = `/1.0/instances/${instance}`;
    const state = () => bear(token, 'GET', `${path}/state?project=${project}`);
    await waitFor('the instance to run', async () => {
      const { metadata } = (await state()).body as { metadata?: { status?: string } };
      return metadata?.status === 'Running' ? true : undefined;
    });
    expect(await bear(token, 'GET', '/1.0/instances')).toMatchObject(DENIED);
    expect(await bear(token, 'GET', `/1.0/instances/${instance}?all-projects=true`)).toMatchObject(DENIED);
    expect(await bear(token, 'POST', '/1.0/instances', request)).toMatchObject(DENIED);
    expect((await bear(token, 'GET', '/1.0/projects')).body.metadata).toEqual([`/1.0/projects/${project}`]);
    const all = await bear(token, 'GET', '/1.0/instances?all-projects=true');
    expect(all.body.metadata).toEqual([`${path}?project=${project}`]);
    for (const [method, elsewhere, body] of [
      ['PUT', `/1.0/projects/${project}`, { config: {} }],
      ['PATCH', '/1.0', { config: { 'user.a': 'b' } }],
      ['POST', '/1.0/auth/tokens', { name: 'more' }],
      ['POST', '/1.0/certificates', { token: true, name: 'more' }],
      ['POST', '/1.0/cluster/members', { server_name: 'more' }],
    ] as const) {
      expect(await bear(token, method, elsewhere, body)).toMatchObject(DENIED);
    }
    const stop = { action: 'stop', force: true, timeout: 30 };
    const stopping = await bear(token, 'PUT', `${path}/state?project=${project}`, stop);
    const waited = await bear(token, 'GET', `${stopping.body.operation}/wait`);
    expect(waited.body.metadata).toMatchObject({ status: 'Success' });
  });

  it('look and change nothing when they are read-only', async () => {
    const { token } = await issue('--scope', 'read-only');
    expect((await bear(token, 'GET', '/1.0/instances?all-projects=true')).status).toBe(200);
    expect((await bear(token, 'GET', '/1.0/auth/tokens?recursion=1')).status).toBe(200);
    for (const [method, path, body] of [
      ['POST', '/1.0/profiles', { name: 'more' }],
      ['PATCH', '/1.0', { config: { 'user.a': 'b' } }],
      ['POST', `/1.0/instances/${instance}/exec?project=${project}`, { command: ['id'] }],
      ['DELETE', `/1.0/instances/${instance}?project=${project}`],
      ['POST', '/1.0/auth/tokens', { name: 'more' }],
    ] as const) {
      expect(await bear(token, method, path, body)).toMatchObject(DENIED);
    }
  });

  it('for metrics are for nothing else', async () => {
    const { token } = await issue('--scope', 'metrics');
    await expect(bear(token, 'GET', '/1.0/metrics')).rejects.toThrow('answered 200 with no JSON: # HELP');
    expect(await bear(token, 'GET', '/1.0/instances')).toMatchObject(DENIED);
    expect((await bear(token, 'GET', '/1.0')).body.metadata).toMatchObject({ auth: 'untrusted' });
  });

  it('that are bad are answered 429 after a few, while good ones from the same address go on', async () => {
    const { token } = await issue();
    const limited = await waitFor('the limit', async () => {
      const answer = await bear(`${token.slice(0, -8)}AAAAAAAA`, 'GET', '/1.0/instances');
      if (answer.status === 429) return answer;
      expect(answer).toMatchObject(DENIED);
      return undefined;
    });
    expect(limited.body).toMatchObject({ type: 'error', error_code: 429, error: 'Too many failed attempts' });
    expect((await bear(token, 'GET', '/1.0/instances')).status).toBe(200);
  });
});
