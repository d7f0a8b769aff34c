import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '#agent/config.ts';
import { parseServerAddress } from '#agent/link/address.ts';
import { backoffMs } from '#agent/link/backoff.ts';
import { nextEpoch } from '#agent/link/epoch.ts';

it.each([
  ['10.0.0.1:8443', '10.0.0.1', 8443, '10.0.0.1:8443'],
  ['cluster.example.org', 'cluster.example.org', 8443, 'cluster.example.org:8443'],
  ['cluster.example.org:443', 'cluster.example.org', 443, 'cluster.example.org'],
  ['https://cluster.example.org', 'cluster.example.org', 443, 'cluster.example.org'],
  ['https://cluster.example.org:9000/', 'cluster.example.org', 9000, 'cluster.example.org:9000'],
  ['[fd00::1]:8443', 'fd00::1', 8443, '[fd00::1]:8443'],
  ['fd00::1', 'fd00::1', 8443, '[fd00::1]:8443'],
])('reads the address %s', (text, host, port, authority) => {
  expect(parseServerAddress(text)).toEqual({ host, port, authority, secure: true });
});

it.each(['', 'a b', 'http://cluster.example.org', 'https://user@host'])('refuses the address "%s"', (text) => {
  expect(() => parseServerAddress(text)).toThrow(/address/);
});

it('takes clear text on loopback only', () => {
  expect(parseServerAddress('http://127.0.0.1:80')).toMatchObject({ secure: false, port: 80 });
});

it('waits between nothing and a bound that doubles up to 10 s', () => {
  const bounds = [0, 1, 2, 3, 10, 1000].map((attempt) => backoffMs(attempt, () => 0.999999));
  expect(bounds).toEqual([249, 499, 999, 1999, 9999, 9999]);
  expect(backoffMs(5, () => 0)).toBe(0);
});

it('raises the epoch at every start, whatever is in the file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'longshore-epoch-'));
  expect([nextEpoch(directory), nextEpoch(directory)]).toEqual([1, 2]);
  writeFileSync(join(directory, 'epoch'), 'garbage');
  expect(nextEpoch(directory)).toBe(1);
  rmSync(directory, { recursive: true });
});

describe('the configuration', () => {
  const minimal = 'server: [a:1]\nmember: host1\n';

  it('has a default for everything but the server and the member', () => {
    expect(parseConfig(minimal, '/etc/longshore/agent.yaml', {})).toMatchObject({
      dataDir: '/var/lib/longshore',
      keyFile: '/etc/longshore/agent.key',
      socketPaths: ['/run/longshore/unix.socket'],
      socketGroup: 'lxd',
      fingerprint: null,
    });
  });

  it('lets the environment win', () => {
    expect(parseConfig(minimal, '/x/agent.yaml', { LONGSHORE_RUN_DIR: '/r' })).toMatchObject({
      runDir: '/r',
      socketPaths: ['/r/unix.socket'],
    });
  });

  it.each([
    [`${minimal}colour: red\n`, 'unknown key "colour"'],
    ['member: host1\n', 'server'],
    [`${minimal}dataDir: relative\n`, 'dataDir'],
    [`${minimal}fingerprint: abc\n`, 'fingerprint'],
    ['a: [', '/x/agent.yaml'],
    ['just text', 'server'],
  ])('refuses %j and names file and key', (text, key) => {
    expect(() => parseConfig(text, '/x/agent.yaml', {})).toThrow(key);
    expect(() => parseConfig(text, '/x/agent.yaml', {})).toThrow('/x/agent.yaml');
  });
});
