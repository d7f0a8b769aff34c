/** Bad instances: names, sources, configuration, devices, bodies, and what is asked of one that is there. */
import type { ApiRequest } from '../api.ts';
import { patch, post, put, type Refusal } from './request.ts';

const image = { type: 'image', alias: 'tiny' };
const instance = (change: Record<string, unknown>): ApiRequest =>
  post('/1.0/instances', { name: 'refused', type: 'container', source: image, config: {}, devices: {}, ...change });
const config = (key: string, value: string) => instance({ config: { [key]: value } });
const device = (value: Record<string, string>) => instance({ devices: { extra: value } });

/** `good` is an instance that runs. */
export function refusedInstances(good: string): Refusal[] {
  const exec = (body: unknown) => post(`/1.0/instances/${good}/exec`, body);
  const file = (path: string): ApiRequest => ({ method: 'GET', path: `/1.0/instances/${good}/files?path=${path}` });
  return [
    // Names
    ['an instance name with a semicolon', instance({ name: 'a;reboot' }), 400, /Invalid instance name/],
    ['an instance name with $()', instance({ name: '$(id)' }), 400, /Invalid instance name/],
    ['an instance name with a back-tick', instance({ name: 'a`id`' }), 400, /Invalid instance name/],
    ['an instance name with a pipe', instance({ name: 'a|b' }), 400, /Invalid instance name/],
    ['an instance name that climbs', instance({ name: '../../etc' }), 400, /Invalid instance name/],
    ['an instance name with a slash', instance({ name: 'a/b' }), 400, /Invalid instance name/],
    ['an instance name with a line break', instance({ name: 'a\nb' }), 400, /Invalid instance name/],
    ['an instance name with NUL', instance({ name: 'a\u0000b' }), 400, /Invalid instance name/],
    ['an instance name with a blank', instance({ name: 'a b' }), 400, /Invalid instance name/],
    ['an instance name with an underscore', instance({ name: 'a_b' }), 400, /Invalid instance name/],
    ['an instance name with a dot', instance({ name: 'a.b' }), 400, /Invalid instance name/],
    ['an instance name that starts with a digit', instance({ name: '1a' }), 400, /must not start with a number/],
    ['an instance name that looks like an option', instance({ name: '-rf' }), 400, /must not start with "-"/],
    ['an instance name that ends with a hyphen', instance({ name: 'a-' }), 400, /must not end with "-"/],
    ['an instance name of 64 characters', instance({ name: 'a'.repeat(64) }), 400, /1-63 characters/],
    ['an instance name of another script', instance({ name: 'häfen' }), 400, /Invalid instance name/],
    [
      'an instance name that is a number',
      instance({ name: 7 }),
      400,
      /name: Invalid input: expected string, received number/,
    ],
    ['a taken name', instance({ name: good }), [400, 409], /already exists/],
    // Sources, profiles, types
    ['an unknown image', instance({ source: { type: 'image', alias: 'nope' } }), [400, 404], /Image not found/],
    [
      'an image fingerprint with a path',
      instance({ source: { type: 'image', fingerprint: '../../x' } }),
      [400, 404],
      /Image not found/,
    ],
    ['no source', instance({ source: undefined }), 400, /source: Invalid input: expected object, received undefined/],
    ['an unknown source type', instance({ source: { type: 'teleport' } }), 400, /Unknown source type "teleport"/],
    ['an unknown profile', instance({ profiles: ['nope'] }), 500, /Requested profile "nope" doesn't exist/],
    [
      'profiles that are no list',
      instance({ profiles: 'default' }),
      400,
      /profiles: Invalid input: expected array, received string/,
    ],
    [
      'a virtual machine',
      instance({ type: 'virtual-machine' }),
      400,
      /Virtual machines are not supported: this cluster runs containers/,
    ],
    ['an unknown type', instance({ type: 'jail' }), 400, /Invalid instance type "jail"/],
    ['an unknown target', { ...instance({}), path: '/1.0/instances?target=nope' }, 404, /Cluster member not found/],
    ['an unknown project', { ...instance({}), path: '/1.0/instances?project=nope' }, 404, /Project not found/],
    // Config
    ['an unknown config key', config('nope.key', '1'), 400, /Unknown configuration key: nope.key/],
    ['a memory limit that is no size', config('limits.memory', 'lots'), 400, /Invalid value: lots/],
    ['a negative memory limit', config('limits.memory', '-1'), 400, /Invalid value: -1/],
    ['a CPU limit that is a command', config('limits.cpu', '1; id'), 400, /Invalid CPU limit syntax/],
    ['a CPU allowance out of form', config('limits.cpu.allowance', '150'), 400, /Invalid allowance "150"/],
    [
      'a process limit that is no number',
      config('limits.processes', 'many'),
      400,
      /Invalid value for an integer "many"/,
    ],
    ['a boolean that is none', config('boot.autostart', 'maybe'), 400, /Invalid value for a boolean "maybe"/],
    [
      'a line break in a value',
      config('limits.cpu', '1\nlxc.hook.pre-start = /bin/sh'),
      400,
      /Invalid value for "limits\.cpu": line breaks and NUL are not allowed/,
    ],
    [
      'a line break in an environment value',
      config('environment.A', 'a\nlxc.hook.pre-start = /bin/sh'),
      400,
      /Invalid value for "environment\.A": line breaks and NUL are not allowed/,
    ],
    [
      'a line break in a config key',
      config('environment.A\nlxc.hook.pre-start', 'x'),
      400,
      /Unknown configuration key: environment\.A/,
    ],
    ['NUL in a value', config('environment.A', 'a\u0000b'), 400, /line breaks and NUL are not allowed/],
    [
      'a sysctl of the host',
      config('linux.sysctl.kernel.core_pattern', '|/bin/sh'),
      400,
      /This sysctl belongs to the host and cannot be set/,
    ],
    [
      'config that is a list',
      instance({ config: ['a'] }),
      400,
      /config: Invalid input: expected record, received array/,
    ],
    // Devices
    [
      'an unknown device type',
      device({ type: 'laser' }),
      400,
      /Failed loading device "extra": Unsupported device type/,
    ],
    ['a device without a type', device({ path: '/x' }), 400, /Missing device type in config/],
    [
      'a nic on an unknown network',
      device({ type: 'nic', network: 'nope' }),
      [400, 404],
      /Failed loading device "extra": Failed to load network/,
    ],
    [
      'a nic name with a slash',
      device({ type: 'nic', network: 'lxdbr0', name: '../eth' }),
      400,
      /Invalid value for device option "name": Network interface/,
    ],
    [
      'a hwaddr with a line break',
      device({ type: 'nic', network: 'lxdbr0', hwaddr: '00:16:3e:00:00:01\nx' }),
      400,
      /Invalid value for device option "hwaddr": line breaks and/,
    ],
    [
      'an address that is none',
      device({ type: 'nic', network: 'lxdbr0', 'ipv4.address': '10.0.0.999' }),
      400,
      /Invalid value for device option "ipv4\.address": Not an IPv4/,
    ],
    [
      'a root disk on an unknown pool',
      instance({ devices: { root: { type: 'disk', path: '/', pool: 'nope' } } }),
      [400, 404],
      /Storage pool not found/,
    ],
    ['no root disk', instance({ profiles: [], devices: {} }), 400, /No root device could be found/],
    [
      'a device name with a line break',
      instance({ devices: { 'a\nb': { type: 'none' } } }),
      400,
      /Invalid devices: Invalid device name "a/,
    ],
    // Bodies
    [
      'JSON that breaks off',
      { method: 'POST', path: '/1.0/instances', body: '{"name":' },
      400,
      /Invalid JSON in the request body/,
    ],
    [
      'a body that is a list',
      { method: 'POST', path: '/1.0/instances', body: '[]' },
      400,
      /Invalid input: expected object, received array/,
    ],
    [
      'a body that is a string',
      { method: 'POST', path: '/1.0/instances', body: '"x"' },
      400,
      /Invalid input: expected object, received string/,
    ],
    [
      'no body',
      { method: 'POST', path: '/1.0/instances' },
      400,
      /source: Invalid input: expected object, received undefined/,
    ],
    [
      'a body of 3 MiB',
      { method: 'POST', path: '/1.0/instances', body: JSON.stringify({ name: 'x', description: 'y'.repeat(3 << 20) }) },
      [400, 413],
      /Request body is larger than 1048576 bytes/,
    ],
    [
      'JSON nested 20,000 deep',
      { method: 'POST', path: '/1.0/instances', body: '['.repeat(20_000) + ']'.repeat(20_000) },
      400,
      /Invalid input: expected object, received array/,
    ],
    [
      'binary that is no UTF-8',
      { method: 'PUT', path: `/1.0/instances/${good}/state`, body: Buffer.from([0xff, 0xfe, 0x00]) },
      400,
      /Invalid JSON in the request body/,
    ],
    // Changes of what is there
    [
      'a rename while it runs',
      post(`/1.0/instances/${good}`, { name: 'refused' }),
      400,
      /Renaming of running container not allowed/,
    ],
    ['a rename with a slash', post(`/1.0/instances/${good}`, { name: 'a/b' }), 400, /Invalid instance name/],
    ['deleting what runs', { method: 'DELETE', path: `/1.0/instances/${good}` }, 400, /running/],
    ['a change with an unknown key', patch(`/1.0/instances/${good}`, { config: { nope: '1' } }), 400, /nope/],
    [
      'a change with a line break',
      patch(`/1.0/instances/${good}`, { config: { 'user.x': 'a\nb', 'limits.cpu': '1\nlxc.hook.stop = /bin/sh' } }),
      400,
      /Invalid config: Invalid value for "limits\.cpu": line breaks/,
    ],
    [
      'a change of another version',
      { ...patch(`/1.0/instances/${good}`, { description: 'x' }), headers: { 'If-Match': '"0000"' } },
      412,
      /ETag doesn't match:/,
    ],
    // State, exec, files
    ['an unknown action', put(`/1.0/instances/${good}/state`, { action: 'explode' }), 400, /Unknown action: 'explode'/],
    [
      'state of an instance that is not there',
      put('/1.0/instances/nope/state', { action: 'start' }),
      404,
      /Instance not found/,
    ],
    [
      'state with a path for a name',
      put('/1.0/instances/..%2f..%2fetc/state', { action: 'start' }),
      [400, 404],
      /Instance not found/,
    ],
    ['exec of an empty command', exec({ command: [], 'wait-for-websocket': true }), 400, /No command provided/],
    ['exec of no command', exec({}), 400, /No command provided/],
    [
      'exec with NUL in an argument',
      exec({ command: ['a\u0000b'], 'wait-for-websocket': true }),
      400,
      /Command, environment and cwd may not contain NUL/,
    ],
    [
      'exec with a variable name that is none',
      exec({ command: ['true'], environment: { 'A=B\n': 'x' } }),
      400,
      /Invalid environment variable name/,
    ],
    ['exec as a user that is none', exec({ command: ['true'], user: -5 }), 400, /Invalid user or group "-5"/],
    ['a file path with NUL', file('/etc/%00passwd'), [400, 404], /Invalid path: NUL is not allowed/],
    ['a file that is not there', file('/no/such'), 404, /Not Found/],
    [
      'a file without a path',
      { method: 'GET', path: `/1.0/instances/${good}/files` },
      [400, 404],
      /Missing path argument/,
    ],
    [
      'a file mode that is none',
      { method: 'POST', path: `/1.0/instances/${good}/files?path=/tmp/x`, headers: { 'X-LXD-mode': 'rwx' }, body: 'x' },
      400,
      /Invalid mode "rwx"/,
    ],
    [
      'a file owner that is none',
      { method: 'POST', path: `/1.0/instances/${good}/files?path=/tmp/x`, headers: { 'X-LXD-uid': '-1' }, body: 'x' },
      400,
      /Invalid uid "-1"/,
    ],
    [
      'a file type that is none',
      {
        method: 'POST',
        path: `/1.0/instances/${good}/files?path=/tmp/x`,
        headers: { 'X-LXD-type': 'socket' },
        body: 'x',
      },
      400,
      /Invalid type "socket"/,
    ],
  ];
}
