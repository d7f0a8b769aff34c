import { createPublicKey, verify } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '#agent/config.ts';
import { JOIN_STEPS, type JoinDeps, type JoinOptions, type JoinStep, joinCluster } from '#agent/join/join.ts';
import { parseJoinToken } from '#agent/join/token.ts';
import { exec } from '#agent/system/exec.ts';
import { type JoinPlan, JoinPlanRequest, JoinRequest, joinPayload } from '#protocol/join.ts';

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
let plan: JoinPlan;
/** Tokens that a password is worth. */
let exchanged: { status: number; body: unknown };
let steps: JoinStep[];
let printed: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-join-'));
  configDir = join(directory, 'etc');
  requests = [];
  printed = [];
  steps = [];
  answer = { status: 200, body: { member: 'host1', clusterCertificate: 'PEM' } };
  plan = { joined: false, members: 1, pools: [], networks: [], memberConfig: [] };
  const read = (name: string) => readFileSync(join(certificates, name));
  server = createServer({ key: read('server.key'), cert: read('server.crt') }, (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
      if (incoming.url === '/agent/join/token') {
        outgoing.writeHead(exchanged.status).end(JSON.stringify(exchanged.body));
        return;
      }
      if (incoming.url === '/agent/join/plan') {
        const key = JoinPlanRequest.parse(body).publicKey;
        const joined = requests.some((request) => request.publicKey === key);
        outgoing.writeHead(200).end(JSON.stringify({ ...plan, joined }));
        return;
      }
      requests.push(JoinRequest.parse(body));
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
const tokenFields = () => ({
  server_name: 'host1',
  fingerprint: fingerprints.server ?? '',
  addresses: [address()],
  secret,
  expires_at: '2099-01-01T00:00:00Z',
});
const token = (overrides: Record<string, unknown> = {}) =>
  Buffer.from(JSON.stringify({ ...tokenFields(), ...overrides })).toString('base64');
const byToken = (overrides: Record<string, unknown> = {}) => ({ kind: 'token' as const, token: token(overrides) });

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
      answer: async () => [],
      confirm: async () => true,
      print: (line) => void printed.push(line),
      step: (name) => void steps.push(name),
      hasSystemd: () => false,
      ...deps,
    },
    {
      right: byToken(),
      configDir,
      settings: { dataDir: join(directory, 'data') },
      launcher: '/usr/local/bin/longshore',
      service: true,
      ...options,
    },
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
    await run({ right: byToken({ addresses: ['127.0.0.1:1', address()] }) });
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
    await expect(run({ right: byToken({ fingerprint: fingerprints.other }) })).rejects.toThrow('not the expected one');
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
    await expect(run({ right: byToken({ server_name: 'host2' }) })).rejects.toThrow('already member "host1"');
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

describe('what the host is asked and has', () => {
  const question = (key: string) => ({
    entity: 'storage-pool' as const,
    name: 'local',
    key,
    value: '',
    description: `"${key}" property for storage pool "local"`,
  });
  const dir = { name: 'local', driver: 'dir', config: {} };
  const withDir = { ...resources, storageDrivers: [{ name: 'dir', version: '1' }] };
  const readResources = async () => withDir;

  it('asks for what no flag answers, and sends both', async () => {
    plan = { ...plan, pools: [dir], memberConfig: [question('source'), question('size')] };
    const asked: string[] = [];
    const size = { entity: 'storage-pool' as const, name: 'local', key: 'size', value: '' };
    const answer = async (questions: readonly { key: string }[]) => {
      asked.push(...questions.map(({ key }) => key));
      return [size];
    };
    const source = { ...size, key: 'source', value: directory };
    rmSync(join(directory, 'data'), { recursive: true, force: true });
    await run({ memberConfig: [source] }, { answer, readResources });
    expect(asked).toEqual(['size']);
    expect(requests[0]?.memberConfig).toEqual([source, size]);
  });

  it('stops for a directory that holds something, a driver that is missing, and an interface that is no bridge', async () => {
    plan = { ...plan, pools: [dir], memberConfig: [question('source')] };
    writeFileSync(join(directory, 'somebody'), 'else');
    const source = { entity: 'storage-pool' as const, name: 'local', key: 'source', value: directory };
    await expect(run({ memberConfig: [source] }, { readResources })).rejects.toThrow("isn't empty");
    plan = { ...plan, pools: [{ ...dir, driver: 'zfs' }] };
    await expect(run({}, { readResources })).rejects.toThrow('this host cannot use zfs');
    plan = { ...plan, pools: [], networks: [{ name: 'br0', type: 'bridge', config: {} }] };
    const faces = [{ name: 'br0', type: 'physical' as const, hwaddr: '' }];
    await expect(run({}, { readResources: async () => ({ ...withDir, interfaces: faces }) })).rejects.toThrow(
      'no bridge',
    );
    await expect(run({ memberConfig: [source] }, { readResources })).rejects.toThrow('has no storage pool "local"');
    expect(requests).toEqual([]);
    expect(existsSync(configDir)).toBe(false);
  });

  it('keeps a bridge of the right name, and says so ahead', async () => {
    plan = { ...plan, networks: [{ name: 'br0', type: 'bridge', config: {} }] };
    const faces = [{ name: 'br0', type: 'bridge' as const, hwaddr: '' }];
    await run({}, { readResources: async () => ({ ...withDir, interfaces: faces }) });
    expect(printed.join('\n')).toContain('Network "br0": the bridge that is there is kept and used');
  });
});

describe('by trust password', () => {
  const byPassword = () => ({
    kind: 'password' as const,
    serverName: 'host1',
    password: 'sekret',
    server: { addresses: [address()], fingerprint: fingerprints.server ?? '' },
  });

  it('joins, and goes on with its own token when it was cut off, for the password is good for one new name only', async () => {
    exchanged = { status: 200, body: tokenFields() };
    const dies = (name: JoinStep) => {
      if (name === 'write-config') throw new Error('killed');
    };
    await expect(run({ right: byPassword() }, { step: dies })).rejects.toThrow('killed');
    exchanged = {
      status: 409,
      body: { error: { code: 'conflict', message: 'already has a member with name: host1' } },
    };
    await run({ right: byPassword() });
    expect(readConfig(join(configDir, 'agent.yaml'), {}).member).toBe('host1');
    expect(new Set(requests.map(({ publicKey }) => publicKey)).size).toBe(1);
  });

  it('changes nothing when the password is wrong', async () => {
    exchanged = { status: 403, body: { error: { code: 'forbidden', message: 'not authorized' } } };
    await expect(run({ right: byPassword() })).rejects.toThrow('not authorized');
    expect(existsSync(configDir)).toBe(false);
  });
});

it.each(JOIN_STEPS)(
  'cut off ahead of %s, it is run again as the same joiner and leaves nothing but its files',
  async (step) => {
    const dies = (name: JoinStep) => {
      if (name === step) throw new Error('killed');
    };
    plan = { ...plan, memberConfig: [] };
    await run({}, { step: dies }).catch(() => {});
    await run();
    expect(readConfig(join(configDir, 'agent.yaml'), {}).member).toBe('host1');
    expect(new Set(requests.map(({ publicKey }) => publicKey)).size).toBe(1);
    expect(readdirSync(configDir).sort()).toEqual(['agent.key', 'agent.yaml']);
  },
);

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
