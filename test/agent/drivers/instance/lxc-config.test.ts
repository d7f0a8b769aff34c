import { describe, expect, it } from 'vitest';
import { configLine } from '#agent/drivers/instance/config-file.ts';
import type { InstanceSetup } from '#agent/drivers/instance/driver.ts';
import { grantsRange } from '#agent/drivers/instance/idmap.ts';
import { limitsOf, parseCpuSet } from '#agent/drivers/instance/limits.ts';
import { usefulLine } from '#agent/drivers/instance/logs.ts';
import { type ConfigHost, renderConfig } from '#agent/drivers/instance/lxc-config.ts';
import { containerName } from '#agent/drivers/instance/store.ts';
import { createCarriageReturnFilter } from '#agent/drivers/instance/terminal-output.ts';
import { makeSetup } from './support.ts';

const host: ConfigHost = {
  limits: { memoryTotalBytes: 1000 * 1024 * 1024, cpus: [0, 1, 2, 3] },
  hasCgroupFile: () => true,
  hookPath: '/run/hook.sh',
  logDir: '/log/c1',
  seccompProfile: null,
  nestingConfig: null,
  lxcfsHook: null,
};
const render = (setup: InstanceSetup) => renderConfig(setup, host, 'c1');
const nic = {
  device: 'eth0',
  name: 'eth0',
  hwaddr: '00:16:3e:00:00:01',
  hostName: 'veth1',
  attachment: { bridge: 'br', mtu: 1500, ipv4: '10.0.0.2/24', ipv4Gateway: '10.0.0.1', ipv6: null, ipv6Gateway: null },
};
const plain = makeSetup('/pool/c1', 'c1', { nics: [nic] });

describe('a container config', () => {
  it('maps ids and mounts the root with them, unless privileged or without storage support', () => {
    expect(render(plain)).toContain('lxc.rootfs.options = idmap=container\n');
    expect(render(plain)).toContain('lxc.idmap = u 0 100000 65536\n');
    for (const privileged of [
      makeSetup('/pool/c1', 'c1', { idmap: false }),
      makeSetup('/pool/c1', 'c1', { config: { 'security.privileged': 'true' } }),
    ]) {
      expect(render(privileged)).not.toContain('idmap');
    }
  });

  it('keeps spaces and quotes of environment values', () => {
    const text = render(makeSetup('/p', 'c1', { config: { 'environment.A': ' "x" ' } }));
    expect(text).toContain('lxc.environment = "A= "x" "\n');
  });

  it('gives an address its broadcast address', () => {
    expect(render(plain)).toContain('lxc.net.0.ipv4.address = 10.0.0.2/24 10.0.0.255\n');
  });

  it('has one default route, however many NICs', () => {
    const second = { ...nic, device: 'eth1', name: 'eth1', hostName: 'veth2' };
    const text = render(makeSetup('/p', 'c1', { nics: [nic, second] }));
    expect(text.match(/ipv4\.gateway/g)).toHaveLength(1);
    expect(text).toContain('lxc.net.0.ipv4.gateway = 10.0.0.1\n');
    expect(text).toContain('lxc.net.1.ipv4.address = 10.0.0.2/24 ');
  });

  const EVIL = 'x\nlxc.hook.pre-start = /evil';
  it.each<[string, InstanceSetup]>([
    ['the volume path', makeSetup(`/p/${EVIL}`, 'c1')],
    ['the instance name', makeSetup('/p', EVIL)],
    ['an environment value', makeSetup('/p', 'c1', { config: { 'environment.A': EVIL } })],
    ['an environment name', makeSetup('/p', 'c1', { config: { [`environment.${EVIL}`]: '1' } })],
    ['a sysctl value', makeSetup('/p', 'c1', { config: { 'linux.sysctl.net.ipv4.ip_forward': EVIL } })],
    ['a sysctl name', makeSetup('/p', 'c1', { config: { [`linux.sysctl.net.${EVIL}`]: '1' } })],
    ['a kernel limit', makeSetup('/p', 'c1', { config: { 'limits.kernel.nofile': EVIL } })],
    ['a kernel limit name', makeSetup('/p', 'c1', { config: { [`limits.kernel.${EVIL}`]: '1' } })],
    ['limits.memory', makeSetup('/p', 'c1', { config: { 'limits.memory': EVIL } })],
    ['limits.cpu', makeSetup('/p', 'c1', { config: { 'limits.cpu': EVIL } })],
    ['limits.cpu.allowance', makeSetup('/p', 'c1', { config: { 'limits.cpu.allowance': EVIL } })],
    ['limits.processes', makeSetup('/p', 'c1', { config: { 'limits.processes': `5${EVIL}` } })],
    ['a disk path', makeSetup('/p', 'c1', { devices: { d: { type: 'disk', source: '/etc', path: `/${EVIL}` } } })],
    ['a NIC name', makeSetup('/p', 'c1', { nics: [{ ...nic, name: EVIL }] })],
    ['a NIC MAC', makeSetup('/p', 'c1', { nics: [{ ...nic, hwaddr: EVIL }] })],
    ['a NIC host name', makeSetup('/p', 'c1', { nics: [{ ...nic, hostName: 'v\nx' }] })],
    ['a bridge', makeSetup('/p', 'c1', { nics: [{ ...nic, attachment: { ...nic.attachment, bridge: EVIL } }] })],
    ['an address', makeSetup('/p', 'c1', { nics: [{ ...nic, attachment: { ...nic.attachment, ipv4: EVIL } }] })],
    ['a gateway', makeSetup('/p', 'c1', { nics: [{ ...nic, attachment: { ...nic.attachment, ipv4Gateway: EVIL } }] })],
  ])('refuses a line break in %s', (_, setup) => {
    expect(() => render(setup)).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });

  it.each(['\n', '\r', '\0'])('refuses %j in any value', (character) => {
    expect(() => configLine('lxc.uts.name', `a${character}b`)).toThrow(
      expect.objectContaining({ code: 'bad_request' }),
    );
  });

  it('never takes raw.lxc', () => {
    const setup = makeSetup('/p', 'c1', { config: { 'raw.lxc': 'lxc.hook.pre-start = /evil' } });
    expect(render(setup)).not.toContain('evil');
  });

  it.each(['kernel.core_pattern', 'vm.swappiness', 'fs.file-max', 'net.ipv4/../../../kernel/core_pattern'])(
    'refuses the sysctl %s of the host',
    (name) => {
      const setup = makeSetup('/p', 'c1', { config: { [`linux.sysctl.${name}`]: '1' } });
      expect(() => render(setup)).toThrow(/is not namespaced/);
    },
  );

  it.each([
    [{ type: 'disk', source: '/etc', path: '/../../etc' }],
    [{ type: 'disk', source: '/etc', path: 'relative' }],
    [{ type: 'disk', source: 'etc', path: '/mnt' }],
    [{ type: 'disk', source: '/does/not/exist', path: '/mnt' }],
    [{ type: 'unix-char', source: '/etc/passwd', path: '/dev/x' }],
    [{ type: 'gpu' }],
  ])('refuses the device %j', (device) => {
    expect(() => render(makeSetup('/p', 'c1', { devices: { d: device } }))).toThrow(
      /^(Invalid devices: Device|Failed add validation for device) "d"/,
    );
  });

  it('escapes spaces of mounts, so that they add no mount options', () => {
    const disk = { type: 'disk', source: '/etc', path: '/mnt/a b\tc', readonly: 'true' };
    expect(render(makeSetup('/p', 'c1', { devices: { disk } }))).toContain(
      'lxc.mount.entry = /etc mnt/a\\040b\\011c none bind,create=dir,ro 0 0\n',
    );
  });
});

describe('names on the host', () => {
  it.each(['-n', '../x', 'a/b', 'a\nb', '', 'a b'])('refuse the instance name %j', (name) => {
    expect(() => containerName({ project: 'default', name })).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });
  it.each(['../x', 'a_b', 'a b', '..'])('refuse the project name %j', (project) => {
    expect(() => containerName({ project, name: 'c1' })).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });
});

describe('limits', () => {
  const context = { ...host.limits, seed: 'c1' };
  const limitValue = (config: Record<string, string>, file: string) =>
    limitsOf(config, context)
      .flatMap(({ v1, v2 }) => [...v1, ...v2])
      .find((one) => one.file === file)?.value;

  it.each([
    [{ 'limits.memory': '64MiB' }, 'memory.memsw.limit_in_bytes', '67108864'],
    [{ 'limits.memory': '50%' }, 'memory.max', String(500 * 1024 * 1024)],
    [{ 'limits.memory': '64MiB', 'limits.memory.swap': 'false' }, 'memory.swap.max', '0'],
    [{ 'limits.memory': '64MiB', 'limits.memory.enforce': 'soft' }, 'memory.limit_in_bytes', '-1'],
    [{ 'limits.memory': '64MiB', 'limits.memory.enforce': 'soft' }, 'memory.high', '67108864'],
    [{ 'limits.cpu': '0-1,3' }, 'cpuset.cpus', '0,1,3'],
    [{ 'limits.cpu': '9' }, 'cpuset.cpus', '0,1,2,3'],
    [{ 'limits.cpu.allowance': '25ms/100ms' }, 'cpu.max', '25000 100000'],
    [{ 'limits.cpu.allowance': '50%' }, 'cpu.shares', '512'],
    [{ 'limits.processes': '20' }, 'pids.max', '20'],
    [{}, 'memory.limit_in_bytes', '-1'],
    [{}, 'cpu.cfs_quota_us', '-1'],
    [{}, 'pids.max', 'max'],
  ])('%j make %s %s', (config, file, value) => {
    expect(limitValue(config, file)).toBe(value);
  });

  it('give a plain count that many CPUs, always the same for one instance', () => {
    expect(parseCpuSet(limitValue({ 'limits.cpu': '2' }, 'cpuset.cpus') ?? '')).toHaveLength(2);
    expect(limitValue({ 'limits.cpu': '2' }, 'cpuset.cpus')).toBe(limitValue({ 'limits.cpu': '2' }, 'cpuset.cpus'));
  });

  it.each([
    ['limits.memory', '0'],
    ['limits.memory', 'much'],
    ['limits.cpu', '0'],
    ['limits.cpu', '3-1'],
    ['limits.processes', '-1'],
  ])('refuse %s=%s', (key, value) =>
    expect(() => limitsOf({ [key]: value }, context)).toThrow(/^Invalid config: Invalid value/),
  );
});

describe('terminal output', () => {
  it.each<[string[], string]>([
    [['a\r\r\nb\r\r\n'], 'a\r\nb\r\n'],
    [['a\r', '\r', '\nb'], 'a\r\nb'],
    [['a\r\r', '\nb'], 'a\r\nb'],
    [['a\r', '\nb'], 'a\r\nb'],
    [['50%\r', '60%\r'], '50%\r60%\r'],
    [['x\r\r', 'y'], 'x\r\ry'],
    [['x\r\r'], 'x\r\r'],
    [['\r\r\r\n'], '\r\r\n'],
  ])('%j becomes %j', (chunks, expected) => {
    const filter = createCarriageReturnFilter();
    const parts = chunks.map((chunk) => filter.push(Buffer.from(chunk)));
    expect(Buffer.concat([...parts, filter.flush()]).toString()).toBe(expected);
  });

  it('holds no lone carriage return back, for progress bars end in one', () => {
    expect(Buffer.from(createCarriageReturnFilter().push(Buffer.from('50%\r'))).toString()).toBe('50%\r');
  });
});

it('grants the id range only by a line of root that covers it', () => {
  expect(grantsRange('root:100000:65536\n')).toBe(true);
  expect(grantsRange('user:100000:65536\nroot:0:1000000000\n')).toBe(true);
  for (const text of ['', 'root:100000:1000', 'user:100000:65536', 'root:100001:65536'])
    expect(grantsRange(text)).toBe(false);
});

it('finds the cause in a log of liblxc', () => {
  const log = [
    'lxc-start c1 20261121142320.355 WARN     conf - ../src/lxc/conf.c:f:1 - Harmless',
    'lxc-start c1 20261121142320.356 ERROR    network - ../src/lxc/network.c:f:2 - No such device - No bridge "br9"',
    'lxc-start c1 20261121142320.357 ERROR    start - ../src/lxc/start.c:f:3 - Failed to spawn container',
  ].join('\n');
  expect(usefulLine(log)).toBe('No such device - No bridge "br9"');
});
