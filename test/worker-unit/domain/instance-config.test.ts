import { describe, expect, it } from 'vitest';
import {
  checkInstanceConfig,
  checkRestrictedConfig,
  dropEmpty,
  replaceConfig,
} from '#worker/domain/instance-config.ts';

const BAD: [key: string, value: string, refusal: string | RegExp][] = [
  ['nope.key', '1', 'Unknown configuration key: nope.key'],
  ['', '1', 'Unknown configuration key: '],
  ['user.', 'x', 'Unknown configuration key: user.'],
  ['limits', '1', /Unknown configuration key/],
  ['limits.memory.nope', '1', /Unknown configuration key/],
  ['limits.kernel.', '1', /Unknown configuration key/],
  ['limits.kernel.NOFILE', '1', /Unknown configuration key/],
  ['linux.sysctl.net ipv4', '1', /Unknown configuration key/],
  ['linux.sysctl.kernel.core_pattern', '|/bin/sh', /belongs to the host/],
  ['linux.sysctl.vm.swappiness', '1', /belongs to the host/],
  ['linux.sysctl.net/../kernel.core_pattern', '1', /belongs to the host/],
  ['environment.', 'x', /Unknown configuration key/],
  ['environment.A=B', 'x', /Unknown configuration key/],
  ['environment.A B', 'x', /Unknown configuration key/],
  ['user.a\nlxc.hook', 'x', /Unknown configuration key/],
  [`user.${'k'.repeat(300)}`, 'x', /Unknown configuration key/],
  ['constructor', 'x', /Unknown configuration key/],
  ['__proto__x', 'x', /Unknown configuration key/],
  ['volatile.nope', 'x', /Unknown configuration key/],
  ['volatile.eth0.nope', 'x', /Unknown configuration key/],
  ['volatile.e h0.hwaddr', '00:16:3e:00:00:01', /Unknown configuration key/],
  ['volatile.eth0.hwaddr', '00:16:3e:00:00', /Invalid MAC address/],
  ['volatile.eth0.host_name', 'a-name-that-is-too-long', /too long/],
  ['volatile.eth0.host_name', 'a/b', /invalid characters/],
  ['volatile.uuid', 'x', 'Invalid UUID "x"'],
  ['boot.autostart', 'maybe', /Invalid value for a boolean "maybe"/],
  ['boot.autostart.delay', '1.5', 'Invalid value for an integer "1.5"'],
  ['boot.stop.priority', 'high', 'Invalid value for an integer "high"'],
  ['boot.autostart.priority', '99999999999999999999', /Invalid value for an integer/],
  ['cluster.evacuate', 'run', 'Invalid value "run" (not one of [auto migrate live-migrate stop])'],
  ['limits.cpu', '0', 'Invalid CPU limit syntax'],
  ['limits.cpu', '1-', /Invalid CPU limit syntax/],
  ['limits.cpu', '3-1', /Invalid CPU limit syntax/],
  ['limits.cpu', '0,,2', /Invalid CPU limit syntax/],
  ['limits.cpu', '-1', /Invalid CPU limit syntax/],
  ['limits.cpu.allowance', '50', /Invalid allowance/],
  ['limits.cpu.allowance', '25ms', /Invalid allowance/],
  ['limits.cpu.allowance', '0ms/100ms', /Invalid allowance/],
  ['limits.cpu.allowance', '25ms/0ms', /Invalid allowance/],
  ['limits.cpu.priority', '11', /must be between 0 and 10/],
  ['limits.disk.priority', '-1', /must be between 0 and 10/],
  ['limits.network.priority', 'x', /Invalid value for an integer/],
  ['limits.memory', 'abc', 'Invalid value: abc'],
  ['limits.memory', '12MiBB', /Invalid value/],
  ['limits.memory', '-5MiB', /Invalid value/],
  ['limits.memory', '0', "Memory limit can't be 0"],
  ['limits.memory', '0%', /Invalid value/],
  ['limits.memory', '101%', /Invalid value/],
  ['limits.memory', '999999999999999EiB', /Invalid value/],
  ['limits.memory.enforce', 'firm', /not one of \[soft hard\]/],
  ['limits.memory.swap', '2', /Invalid value for a boolean/],
  ['limits.processes', '-3', /Invalid value for an integer/],
  ['limits.hugepages.2MB', 'many', /Invalid value/],
  ['limits.kernel.nofile', 'soft:hard', /Invalid kernel limit/],
  ['limits.kernel.nofile', '1:2:3', /Invalid kernel limit/],
  ['linux.kernel_modules', 'ip_tables;reboot', /Invalid list of names/],
  ['security.nesting', 'please', /Invalid value for a boolean/],
  ['security.idmap.size', '-1', /Invalid value for an integer/],
  ['snapshots.expiry', '3x', /Invalid expiry/],
  ['snapshots.expiry', '1d 2d', /Invalid expiry/],
  ['snapshots.schedule', '* * *', /Schedule must be of the form/],
  ['snapshots.schedule', '@sometimes', /Schedule must be of the form/],
  ['limits.cpu', '1\nlxc.hook.start = /bin/sh', /line breaks/],
  ['environment.A', 'b\nlxc.hook.start = /bin/sh', /line breaks/],
  ['environment.A', 'b\rc', /line breaks/],
  ['linux.sysctl.kernel.hostname', 'a\nb', /line breaks/],
  ['volatile.last_state.power', 'RUNNING\nx', /line breaks/],
  ['user.data', 'a\0b', /NUL/],
  ['raw.lxc', 'a\0b', /NUL/],
];

const GOOD: [key: string, value: string][] = [
  ['limits.cpu', '2'],
  ['limits.cpu', '0-3,7'],
  ['limits.cpu.allowance', '50%'],
  ['limits.cpu.allowance', '25ms/100ms'],
  ['limits.memory', '512MiB'],
  ['limits.memory', '1GB'],
  ['limits.memory', '1073741824'],
  ['limits.memory', '50%'],
  ['limits.kernel.nofile', '1024:unlimited'],
  ['limits.hugepages.1GB', '4GB'],
  ['boot.autostart', 'TRUE'],
  ['boot.autostart.priority', '-5'],
  ['security.nesting', 'on'],
  ['cluster.evacuate', 'live-migrate'],
  ['snapshots.expiry', '1M 2H 3d 4w 5m 6y'],
  ['snapshots.schedule', '0 6 * * 1-5'],
  ['snapshots.schedule', '@hourly, @daily'],
  ['linux.sysctl.net.ipv4.ip_forward', '1'],
  ['linux.sysctl.kernel.shmmax', '1'],
  ['linux.sysctl.fs.mqueue.msg_max', '10'],
  ['linux.kernel_modules', 'overlay,br_netfilter'],
  ['environment.FOO', 'bar baz'],
  ['user.anything at all', 'line one\nline two'],
  ['cloud-init.user-data', '#cloud-config\npackages: [vim]\n'],
  ['raw.lxc', 'lxc.a = b\nlxc.c = d'],
  ['security.syscalls.deny', 'a\nb'],
  ['image.description', 'two\nlines'],
  ['volatile.eth0.hwaddr', '00:16:3E:ab:cd:ef'],
  ['volatile.my.dev.last_state.created', 'true'],
  ['volatile.idmap.next', '[{"Isuid":true}]'],
  ['limits.memory', ''],
];

describe('checkInstanceConfig', () => {
  it.each(BAD)('refuses %j = %j', (key, value, refusal) => {
    const text = checkInstanceConfig({ [key]: value });
    if (typeof refusal === 'string') expect(text).toBe(refusal);
    else expect(text).toMatch(refusal);
  });

  it.each(GOOD)('takes %j = %j', (key, value) => {
    expect(checkInstanceConfig({ [key]: value })).toBeNull();
  });

  it('refuses an isolated idmap for a privileged container', () => {
    expect(checkInstanceConfig({ 'security.privileged': 'true', 'security.idmap.isolated': 'true' })).toMatch(
      /mutually exclusive/,
    );
  });
});

describe('checkRestrictedConfig', () => {
  it.each([
    ['raw.lxc', 'lxc.a = b'],
    ['raw.idmap', 'both 0 0'],
    ['raw.apparmor', 'x'],
    ['security.privileged', '1'],
    ['security.syscalls.intercept.mount', 'true'],
    ['security.idmap.base', '0'],
    ['linux.kernel_modules', 'evil'],
    ['volatile.idmap.next', '[]'],
  ])('refuses %s to a caller confined to projects', (key, value) => {
    expect(checkRestrictedConfig({ [key]: value })).toMatch(/forbidden/);
  });

  it('lets what an administrator has set stay, but not change', () => {
    const previous = { 'raw.lxc': 'lxc.a = b' };
    expect(checkRestrictedConfig({ 'raw.lxc': 'lxc.a = b', 'limits.cpu': '2' }, previous)).toBeNull();
    expect(checkRestrictedConfig({ 'raw.lxc': 'lxc.a = c' }, previous)).toMatch(/forbidden/);
  });

  it('lets ordinary keys and security.privileged=false pass', () => {
    expect(
      checkRestrictedConfig({ 'limits.cpu': '1', 'security.privileged': 'false', 'user.x': 'raw.lxc' }),
    ).toBeNull();
  });
});

describe('replaceConfig', () => {
  const previous = {
    'limits.cpu': '1',
    'volatile.uuid': 'u',
    'volatile.base_image': 'f',
    'volatile.last_state.power': 'RUNNING',
    'volatile.eth0.hwaddr': '00:16:3e:00:00:01',
    'volatile.eth0.host_name': 'veth1',
  };

  it('removes keys that are absent or empty', () => {
    expect(replaceConfig(previous, { 'user.a': '', 'user.b': 'x' }, ['eth0'])).toMatchObject({ 'user.b': 'x' });
    expect(replaceConfig(previous, { 'user.a': '' }, ['eth0'])).not.toHaveProperty(['limits.cpu']);
    expect(replaceConfig(previous, { 'user.a': '' }, ['eth0'])).not.toHaveProperty(['user.a']);
  });

  it('keeps the identity and the last state when a client leaves volatile keys out', () => {
    expect(replaceConfig(previous, {}, ['eth0'])).toEqual({
      'volatile.uuid': 'u',
      'volatile.base_image': 'f',
      'volatile.last_state.power': 'RUNNING',
    });
  });

  it('does not let a client write the last state or idmaps', () => {
    const sent = { 'volatile.last_state.power': 'STOPPED', 'volatile.idmap.base': '0' };
    const result = replaceConfig(previous, sent, []);
    expect(result['volatile.last_state.power']).toBe('RUNNING');
    expect(result['volatile.idmap.base']).toBeUndefined();
  });

  it('drops the notes of devices that are gone and keeps those of the others', () => {
    expect(replaceConfig(previous, previous, ['root'])).not.toHaveProperty(['volatile.eth0.hwaddr']);
    expect(replaceConfig(previous, previous, ['eth0'])).toHaveProperty(['volatile.eth0.hwaddr']);
  });
});

it('dropEmpty drops exactly the empty values', () => {
  expect(dropEmpty({ a: '', b: ' ', c: '0' })).toEqual({ b: ' ', c: '0' });
});
