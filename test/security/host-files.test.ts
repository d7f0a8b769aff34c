/**
 * What users write ends in files that root's programs read on the host. Whatever it is, it stays the value it was meant to be:
 * no further line, no further field, no path out.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTail } from '#agent/drivers/instance/logs.ts';
import { type ConfigHost, renderConfig } from '#agent/drivers/instance/lxc-config.ts';
import { readBridgeConfig } from '#agent/drivers/network/config.ts';
import { dnsmasqArguments } from '#agent/drivers/network/dnsmasq.ts';
import { hostsText, nameEntries } from '#agent/drivers/network/names.ts';
import { renderRules } from '#agent/drivers/network/nft.ts';
import { checkedRequest, hostFileName } from '#agent/drivers/network/reservations.ts';
import { AppError } from '#protocol/errors.ts';
import { makeSetup } from '../agent/drivers/instance/support.ts';
import { tried } from './client.ts';
import { fuzz } from './fuzz.ts';

const PIECES = [
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  '"',
  "'",
  '#',
  '\\',
  '\\012',
  ';',
  '{',
  ',',
  '..',
  '/',
  '$(id)',
  '-',
  '=',
  '%',
  '=',
  '\u2028',
];
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(...PIECES),
      fc.constantFrom('lxc.hook.start = /evil', 'dhcp-script=/evil', 'accept', '10.0.0.2', 'x'),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''));
const either = (...good: string[]) => fc.oneof(hostile, fc.constantFrom(...good));

/** Refused as a value that cannot be, or as it should; nothing else may be thrown. */
function unlessRefused(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'bad_request') throw error;
  }
}

afterAll(() => console.log(`files of the host: ${tried.parsed} values tried`));

describe('the config of liblxc', () => {
  const host: ConfigHost = {
    limits: { memoryTotalBytes: 2 ** 30, cpus: [0, 1] },
    hasCgroupFile: () => true,
    hookPath: '/run/hook.sh',
    logDir: '/log/c1',
    ...{ seccompProfile: null, nestingConfig: null, lxcfsHook: null },
  };
  const keyOf = (line: string) => line.split(' = ')[0] ?? '';
  const sensitive = (text: string) =>
    text
      .split('\n')
      .filter((line) => /^lxc\.(hook|include|rootfs|idmap|apparmor|cap|namespace|init|execute|log|seccomp)/.test(line));
  const config = fc.dictionary(
    either(
      'limits.cpu',
      'limits.memory',
      'environment.A',
      'linux.sysctl.net.ipv4.ip_forward',
      'limits.kernel.nofile',
      'raw.lxc',
      'user.a',
      'limits.processes',
    ),
    either('1', '512MiB', 'unlimited'),
    { maxKeys: 4 },
  );
  const device = fc.record(
    {
      type: either('disk', 'unix-char', 'none', 'nic'),
      source: either('/srv', '/dev/null'),
      path: either('/mnt', '/dev/x'),
      ...{
        major: either('1'),
        minor: either('3'),
        mode: either('0660'),
        readonly: either('true'),
        propagation: either('private'),
      },
    },
    { requiredKeys: ['type'] },
  );

  it('holds no line, no hook and no mount field that a value brought', () => {
    const plain = sensitive(renderConfig(makeSetup('/pool/c1', 'c1'), host, 'c1'));
    fuzz(fc.tuple(config, fc.dictionary(either('d1'), device, { maxKeys: 2 })), 4_000, ([keys, devices]) => {
      unlessRefused(() => {
        const text = renderConfig(makeSetup('/pool/c1', 'c1', { config: keys, devices }), host, 'c1');
        for (const line of text.split('\n').slice(0, -1)) {
          expect(line).toMatch(/^lxc\.[a-z0-9]+(\.[\w./-]+)? = [^\n\r\0]*$/);
          if (keyOf(line) === 'lxc.mount.entry')
            expect(line.slice('lxc.mount.entry = '.length).split(/[ \t]+/)).toHaveLength(6);
        }
        expect(sensitive(text)).toEqual(plain);
      });
    });
  });
});

describe('what dnsmasq and nft are told', () => {
  const keys = fc.record(
    {
      ...{ 'ipv4.address': either('10.0.0.1/24', 'none'), 'ipv6.address': either('fd42::1/64', 'none') },
      ...{
        'dns.domain': either('lxd'),
        'dns.search': either('a.b'),
        'dns.mode': either('managed'),
        'ipv4.nat': either('true'),
      },
      ...{
        'ipv4.dhcp.ranges': either('10.0.0.5-10.0.0.9'),
        'ipv4.dhcp.expiry': either('1h'),
        'ipv4.nat.address': either('1.2.3.4'),
      },
      ...{
        'bridge.hwaddr': either('00:16:3e:00:00:01'),
        'bridge.external_interfaces': either('eth1'),
        'raw.dnsmasq': hostile,
      },
    },
    { requiredKeys: ['ipv4.address'] },
  );
  const paths = { directory: '/d', hosts: '/d/h', names: '/d/n', leases: '/d/l', pidFile: '/r/p' };

  it('are options and rules of ours, with values that end no line', () => {
    fuzz(fc.tuple(either('br0'), keys), 4_000, ([name, own]) => {
      unlessRefused(() => {
        const read = readBridgeConfig({ name, type: 'bridge', description: '', config: own });
        for (const argument of dnsmasqArguments(read, paths, 'nobody'))
          expect(argument).not.toMatch(/[\n\r\0]|script|evil/);
        for (const line of renderRules(name, read).split('\n')) {
          expect(line).toMatch(/^$|^(add|flush|delete|destroy) [\w .\-:"{}$;,/@=!]+$/);
          expect(line).not.toContain('/evil');
        }
      });
    });
  });

  it('are names and addresses only, in files of their own', () => {
    const nic = fc.record({
      ...{ instance: either('web', 'p_web'), device: either('eth0'), network: fc.constant('br0') },
      ...{ hwaddr: either('00:16:3e:00:00:01'), ipv4Address: fc.constant(null), ipv6Address: fc.constant(null) },
    });
    fuzz(nic, 2_000, (request) => {
      unlessRefused(() => expect(hostFileName(checkedRequest(request))).toMatch(/^[\w.:@%+-]+$/));
    });
    const bridge = readBridgeConfig({
      name: 'br0',
      type: 'bridge',
      description: '',
      config: { 'ipv4.address': '10.0.0.1/24' },
    });
    const told = fc.record({
      ...{ project: either('default', 'blog'), name: either('web') },
      addresses: fc.array(fc.record({ network: either('br0'), address: either('10.0.0.9') }), { maxLength: 3 }),
    });
    fuzz(fc.array(told, { maxLength: 3 }), 2_000, (instances) => {
      const text = hostsText(nameEntries([{ config: bridge, reservations: [] }], instances));
      for (const line of text.split('\n')) expect(line).toMatch(/^$|^[0-9a-f.:]+( [A-Za-z0-9.-]+)+$/);
    });
  });
});

describe('a log that is asked for by name', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'longshore-logs-'));
    const logs = path.join(dir, 'logs');
    mkdirSync(path.join(logs, 'folder'), { recursive: true });
    writeFileSync(path.join(dir, 'secret'), 'secret');
    writeFileSync(path.join(logs, 'lxc.log'), 'log');
    symlinkSync('../secret', path.join(logs, 'link'));
    execFileSync('mkfifo', [path.join(logs, 'fifo')]);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('is a file of that instance', () => expect(readTail(path.join(dir, 'logs'), 'lxc.log')).toBe('log'));

  it.each([
    '../secret',
    '..',
    '.',
    '',
    'link',
    'fifo',
    'folder',
    '/etc/passwd',
    'folder/../../secret',
    'lxc.log\0',
    '-x',
    'x'.repeat(300),
  ])('is nothing else: %j', (file) => {
    expect(() => readTail(path.join(dir, 'logs'), file)).toThrow(expect.objectContaining({ code: 'not_found' }));
  });
});
