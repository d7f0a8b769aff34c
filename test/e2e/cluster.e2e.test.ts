import { afterAll, describe, expect, it } from 'vitest';
import { cluster, lxc, lxcJson, newName, table, waitFor } from './support.ts';

interface Token {
  server_name: string;
  fingerprint: string;
  addresses: string[];
  secret: string;
  expires_at: string;
}

const decode = (token: string) => JSON.parse(Buffer.from(token, 'base64').toString()) as Token;
const encode = (token: Token) => Buffer.from(JSON.stringify(token)).toString('base64');
const members = async () =>
  ((await lxcJson('query', '/1.0/cluster/members')) as string[]).map((url) => url.split('/').at(-1));

async function newToken(name: string): Promise<string> {
  const { stdout, code } = await lxc('cluster', 'add', name);
  expect(code).toBe(0);
  const token = stdout.trim().split('\n').at(-1) ?? '';
  expect(stdout).toContain(`Member ${name} join token:`);
  return token;
}

describe('the cluster by the stock client', () => {
  it('lists three members online, in LXD’s columns', async () => {
    const { header, rows } = table((await lxc('cluster', 'list')).stdout);
    expect(header).toEqual([
      'NAME',
      'URL',
      'ROLES',
      'ARCHITECTURE',
      'FAILURE DOMAIN',
      'DESCRIPTION',
      'STATE',
      'MESSAGE',
    ]);
    for (const host of ['host1', 'host2', 'host3']) {
      const row = rows.find((cells) => cells[0] === host);
      expect(row?.[1]).toMatch(/^https:\/\/.+:8443$/);
      expect(row?.slice(3)).toEqual(['x86_64', 'default', '', 'ONLINE', 'Fully operational']);
    }
  });

  it('answers lxc info, remote list and query /1.0/cluster', async () => {
    expect((await lxc('info')).stdout).toMatch(/auth: trusted[\s\S]*server_clustered: true/);
    const remotes = table((await lxc('remote', 'list')).stdout);
    expect(remotes.header.slice(0, 4)).toEqual(['NAME', 'URL', 'PROTOCOL', 'AUTH TYPE']);
    expect(await lxcJson('query', '/1.0/cluster')).toMatchObject({ enabled: true });
  });
});

/** A join is refused, and neither the cluster nor the host is changed by it. */
async function expectRefused(token: string, text: string | RegExp): Promise<void> {
  const host = await cluster.bareHost(5);
  const written = async () => (await host.exec(['find', '/etc/longshore', '/run/.own', '-not', '-type', 'd'])).stdout;
  const before = [await members(), await written()];
  const join = await host.join(token);
  expect(join.code).toBe(1);
  expect(join.stderr).toMatch(/^Error: .+\n$/);
  expect(join.stderr).toMatch(text);
  expect([await members(), await written()]).toEqual(before);
}

describe('lxc cluster add', () => {
  const added = 'host4';
  afterAll(() => Promise.all([4, 5, 6].map((number) => cluster.removeHost(number))));

  it('prints a token with which a fourth host is online within 5 s; a second use is refused', async () => {
    const token = await newToken(added);
    const content = decode(token);
    expect(Object.keys(content).sort()).toEqual(['addresses', 'expires_at', 'fingerprint', 'secret', 'server_name']);
    expect(content.server_name).toBe(added);
    const host = await cluster.bareHost(4);
    const join = await host.join(token);
    expect(join).toMatchObject({ code: 0 });
    await host.startAgent();
    const started = Date.now();
    await waitFor(
      'host4 to be online',
      async () =>
        ((await lxcJson('query', `/1.0/cluster/members/${added}`)) as { status: string }).status === 'Online' ||
        undefined,
      5_000,
    );
    expect(Date.now() - started).toBeLessThan(5_000);
    await expectRefused(token, 'No matching cluster join operation found');
    expect(await members()).toHaveLength(4);
  });

  it('lets the new member run instances on the pools and the bridge of the cluster, with nothing more to set up', async () => {
    for (const pool of ['default', 'tank']) {
      const name = newName('joined');
      expect(await lxc('launch', 'tiny', name, '-s', pool, '--target', added)).toMatchObject({ code: 0, stderr: '' });
      expect(await lxc('exec', name, '--', 'true')).toMatchObject({ code: 0 });
      expect((await lxc('list', name, '-f', 'csv', '-c', '4')).stdout).toMatch(/\(eth0\)/);
      expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
    }
  });

  it.each([
    [
      'a tampered secret',
      (t: Token) => encode({ ...t, secret: t.secret.replace(/^./, (c) => (c === '0' ? '1' : '0')) }),
      /No matching cluster join operation found/,
    ],
    ['another certificate', (t: Token) => encode({ ...t, fingerprint: '0'.repeat(64) }), /fingerprint/i],
    ['another name', (t: Token) => encode({ ...t, server_name: 'host9' }), /The join token is for member "host8"/],
    ['no JSON', () => 'bm90IGpzb24=', /token/i],
    ['no base64', () => '%%%', /token/i],
  ])('refuses a token with %s and changes nothing', async (_case, tamper, text) => {
    const token = await newToken('host8');
    await expectRefused(tamper(decode(token)), text);
    // The token itself is as good as before.
    expect(await lxc('cluster', 'revoke-token', 'host8')).toMatchObject({ code: 0 });
  });

  it('refuses an expired and a revoked token', async () => {
    await lxc('config', 'set', 'cluster.join_token_expiry', '1S');
    const expired = await newToken('host8');
    await lxc('config', 'unset', 'cluster.join_token_expiry');
    await new Promise((resolve) => setTimeout(resolve, Date.parse(decode(expired).expires_at) - Date.now() + 50));
    // The date in the token is for people: changing it helps nobody.
    const renewed = encode({ ...decode(expired), expires_at: '2099-01-01T00:00:00Z' });
    for (const token of [expired, renewed]) await expectRefused(token, 'The join token for member "host8" has expired');

    const revoked = await newToken('host8');
    expect(table((await lxc('cluster', 'list-tokens')).stdout).rows.some((row) => row[0] === 'host8')).toBe(true);
    expect(await lxc('cluster', 'revoke-token', 'host8')).toMatchObject({ code: 0 });
    await expectRefused(revoked, 'No matching cluster join operation found');
  });

  it('cancels the earlier token of the same name', async () => {
    const first = await newToken('host8');
    await newToken('host8');
    await expectRefused(first, 'No matching cluster join operation found');
    expect(await lxc('cluster', 'revoke-token', 'host8')).toMatchObject({ code: 0 });
  });

  it('takes one of two hosts that use a token at the same moment', async () => {
    const token = await newToken('host5');
    const hosts = await Promise.all([5, 6].map((number) => cluster.bareHost(number)));
    const answers = await Promise.all(hosts.map((host) => host.join(token)));
    expect(answers.map(({ code }) => code).sort()).toEqual([0, 1]);
    expect(answers.find(({ code }) => code === 1)?.stderr).toMatch(/No matching cluster join operation found|already/);
    expect((await members()).filter((name) => name === 'host5')).toHaveLength(1);
  });
});
