import { createPublicKey, verify } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '#agent/config.ts';
import { type JoinDeps, type JoinOptions, joinCluster } from '#agent/join/join.ts';
import { parseJoinToken } from '#agent/join/token.ts';
import { exec } from '#agent/system/exec.ts';
import { JoinRequest, joinPayload } from '#protocol/join.ts';

const certificates = mkdtempSync(join(tmpdir(), 'longshore-tls-'));
const fingerprints: Record<string, string> = {};
beforeAll(async () => {
  for (const name of ['server', 'other']) {
    const [key, cert] = [join(certificates, `${name}.key`), join(certificates, `${name}.crt`)];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    await exec('openssl', ['req', '-x509', ...curve, '-subj', `/CN=${name}`, '-keyout', key, '-out', cert]);
    const { stdout } = await exec('openssl', ['x509', '-in', cert, '-noout', '-fingerprint', '-sha256']);
    fingerprints[name] = (stdout.split('=')[1] ?? '').replaceAll(':', '').toLowerCase();
  }
  return () => rmSync(certificates, { recursive: true });
});

let directory: string;
let configDir: string;
let server: Server;
let requests: JoinRequest[];
let answer: { status: number; body: unknown };
let printed: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-join-'));
  configDir = join(directory, 'etc');
  requests = [];
  printed = [];
  answer = { status: 200, body: { member: 'host1', clusterCertificate: 'PEM' } };
  const read = (name: string) => readFileSync(join(certificates, name));
  server = createServer({ key: read('server.key'), cert: read('server.crt') }, (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      requests.push(JoinRequest.parse(JSON.parse(Buffer.concat(chunks).toString())));
      outgoing.writeHead(answer.status).end(JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});

const address = () => `127.0.0.1:${(server.address() as AddressInfo).port}`;
const secret = 'a'.repeat(64);
const token = (overrides: Record<string, unknown> = {}) =>
  Buffer.from(
    JSON.stringify({
      server_name: 'host1',
      fingerprint: fingerprints.server,
      addresses: [address()],
      secret,
      expires_at: '2099-01-01T00:00:00Z',
      ...overrides,
    }),
  ).toString('base64');

const resources = {
  architecture: 'x86_64',
  kernel: 'Linux',
  kernelVersion: '6',
  osName: 'Debian',
  osVersion: '12',
  lxcVersion: '5',
  cpuCount: 2,
  memoryTotalBytes: 1,
  storageDrivers: [],
  interfaces: [],
  addresses: [],
};

const run = (options: Partial<JoinOptions> = {}, deps: Partial<JoinDeps> = {}) =>
  joinCluster(
    {
      exec,
      readResources: async () => resources,
      confirm: async () => true,
      print: (line) => void printed.push(line),
      hasSystemd: () => false,
      ...deps,
    },
    { token: token(), configDir, settings: {}, launcher: '/usr/local/bin/longshore', service: true, ...options },
  );

const refused = (code: string, message: string, status: number) => {
  answer = { status, body: { error: { code, message } } };
};

describe('a join', () => {
  it('proves the key, and leaves a configuration that the agent reads', async () => {
    await run({ settings: { dataDir: join(directory, 'data') } });
    const [request] = requests;
    const key = createPublicKey({ key: Buffer.from(request?.publicKey ?? '', 'base64'), format: 'der', type: 'spki' });
    const payload = joinPayload({ serverName: 'host1', secret, fingerprint: fingerprints.server ?? '' });
    expect(verify(null, payload, key, Buffer.from(request?.signature ?? '', 'base64'))).toBe(true);

    const config = readConfig(join(configDir, 'agent.yaml'), {});
    expect(config).toMatchObject({ member: 'host1', server: [address()], fingerprint: fingerprints.server });
    expect(config.dataDir).toBe(join(directory, 'data'));
    for (const name of ['agent.yaml', 'agent.key']) expect(statSync(join(configDir, name)).mode & 0o777).toBe(0o600);
  });

  it('says what it will do before it asks, and how to start the agent without systemd', async () => {
    let before: string[] = [];
    const confirm = async () => {
      before = [...printed];
      return true;
    };
    await run({}, { confirm });
    expect(before.join('\n')).toContain(fingerprints.server);
    expect(printed.at(-1)).toContain(`agent --config ${join(configDir, 'agent.yaml')}`);
  });

  it('can be repeated: it shows the same key', async () => {
    await run();
    await run();
    expect(requests[0]?.publicKey).toBe(requests[1]?.publicKey);
  });

  it('keeps the key when the answer was lost, so that the repetition is the same joiner', async () => {
    answer = { status: 502, body: 'broken' };
    await expect(run()).rejects.toThrow('answered 502');
    answer = { status: 200, body: { member: 'host1', clusterCertificate: 'PEM' } };
    await run();
    expect(requests[0]?.publicKey).toBe(requests[1]?.publicKey);
  });

  it('tries the next address when one is silent', async () => {
    await run({ token: token({ addresses: ['127.0.0.1:1', address()] }) });
    expect(existsSync(join(configDir, 'agent.yaml'))).toBe(true);
  });
});

describe('nothing is changed, and the secret is not sent,', () => {
  const untouched = () => expect(existsSync(join(configDir, 'agent.yaml'))).toBe(false);
  const unsent = () => {
    untouched();
    expect(requests).toEqual([]);
  };

  it('when the server has another certificate than the token says', async () => {
    await expect(run({ token: token({ fingerprint: fingerprints.other }) })).rejects.toThrow('not the expected one');
    unsent();
  });

  it('when the token is for another name', async () => {
    await expect(run({ name: 'host2' })).rejects.toThrow('The token is for "host1", not for "host2"');
    unsent();
  });

  it('when the person says no', async () => {
    await expect(run({}, { confirm: async () => false })).rejects.toThrow('cancelled');
    unsent();
  });

  it('when the host is already another member', async () => {
    await run();
    requests = [];
    await expect(run({ token: token({ server_name: 'host2' }) })).rejects.toThrow('already member "host1"');
    expect(requests).toEqual([]);
  });

  it.each([
    ['forbidden', 'No matching cluster join operation found', 403],
    ['conflict', 'The cluster already has a member with name: host1', 409],
  ])('when the control plane refuses (%s): not even a key is left', async (code, message, status) => {
    refused(code, message, status);
    await expect(run()).rejects.toThrow(message);
    untouched();
    expect(existsSync(join(configDir, 'agent.key'))).toBe(false);
  });
});

it.each([
  ['garbage', 'not complete'],
  [Buffer.from('{}').toString('base64'), 'server_name'],
])('refuses the token %j', (text, reason) => {
  expect(() => parseJoinToken(text)).toThrow(reason);
});

it.each(['2020-01-01T00:00:00Z', '0001-01-01T00:00:00Z'])(
  'leaves it to the control plane whether a token of %s has expired: the clock here may be wrong',
  (expires_at) => {
    expect(parseJoinToken(token({ expires_at })).server_name).toBe('host1');
  },
);
