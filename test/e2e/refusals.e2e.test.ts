/** Bad input is refused in LXD's error form, at once or by the operation, and leaves nothing behind. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiAnswer, type ApiRequest, api } from './api.ts';
import { takeSnapshot } from './leftovers.ts';
import { lxc, newName, removeInstances } from './support.ts';

const good = newName('refusals');
let before: unknown;
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', good)).code).toBe(0);
  before = await takeSnapshot();
});
afterAll(() => removeInstances([good]));

const image = { type: 'image', alias: 'tiny' };
const instance = (change: Record<string, unknown>): ApiRequest => ({
  method: 'POST',
  path: '/1.0/instances',
  body: JSON.stringify({ name: 'refused', type: 'container', source: image, config: {}, devices: {}, ...change }),
});
const put = (path: string, body: unknown): ApiRequest => ({ method: 'PUT', path, body: JSON.stringify(body) });
const post = (path: string, body: unknown): ApiRequest => ({ method: 'POST', path, body: JSON.stringify(body) });
const patch = (path: string, body: unknown): ApiRequest => ({ method: 'PATCH', path, body: JSON.stringify(body) });
const config = (key: string, value: string) => instance({ config: { [key]: value } });
const device = (value: Record<string, string>) => instance({ devices: { extra: value } });
const exec = (body: unknown) => post(`/1.0/instances/${good}/exec`, body);
const file = (path: string): ApiRequest => ({ method: 'GET', path: `/1.0/instances/${good}/files?path=${path}` });
const pool = (body: unknown) => post('/1.0/storage-pools', body);
const network = (body: unknown) => post('/1.0/networks', body);
const project = (body: unknown) => post('/1.0/projects', body);
const upload = (body: Buffer, headers: Record<string, string> = {}): ApiRequest => ({
  method: 'POST',
  path: '/1.0/images',
  headers: { 'content-type': 'application/octet-stream', ...headers },
  body,
});

/** A tarball with one entry, as an attacker would write it. */
function tarOf(name: string, type: string, linkName = ''): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write('00000000000\0', 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(type, 156);
  header.write(linkName, 157);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return gzipSync(Buffer.concat([header, Buffer.alloc(1024)]));
}

const CASES: [string, ApiRequest, number | number[], RegExp][] = [
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
  ['an instance name that is a number', instance({ name: 7 }), 400, /.+/],
  ['a taken name', instance({ name: good }), [400, 409], /already exists/],
  // Sources, profiles, types
  ['an unknown image', instance({ source: { type: 'image', alias: 'nope' } }), [400, 404], /Image not found/],
  [
    'an image fingerprint with a path',
    instance({ source: { type: 'image', fingerprint: '../../x' } }),
    [400, 404],
    /.+/,
  ],
  ['no source', instance({ source: undefined }), 400, /.+/],
  ['an unknown source type', instance({ source: { type: 'teleport' } }), 400, /.+/],
  ['an unknown profile', instance({ profiles: ['nope'] }), 500, /Requested profile "nope" doesn't exist/],
  ['profiles that are no list', instance({ profiles: 'default' }), 400, /.+/],
  ['a virtual machine', instance({ type: 'virtual-machine' }), 400, /.+/],
  ['an unknown type', instance({ type: 'jail' }), 400, /.+/],
  ['an unknown target', { ...instance({}), path: '/1.0/instances?target=nope' }, 404, /Cluster member not found/],
  ['an unknown project', { ...instance({}), path: '/1.0/instances?project=nope' }, 404, /Project not found/],
  // Config
  ['an unknown config key', config('nope.key', '1'), 400, /Unknown configuration key: nope.key/],
  ['a memory limit that is no size', config('limits.memory', 'lots'), 400, /.+/],
  ['a negative memory limit', config('limits.memory', '-1'), 400, /.+/],
  ['a CPU limit that is a command', config('limits.cpu', '1; id'), 400, /.+/],
  ['a CPU allowance out of form', config('limits.cpu.allowance', '150'), 400, /.+/],
  ['a process limit that is no number', config('limits.processes', 'many'), 400, /.+/],
  ['a boolean that is none', config('boot.autostart', 'maybe'), 400, /.+/],
  ['a line break in a value', config('limits.cpu', '1\nlxc.hook.pre-start = /bin/sh'), 400, /.+/],
  ['a line break in an environment value', config('environment.A', 'a\nlxc.hook.pre-start = /bin/sh'), 400, /.+/],
  ['a line break in a config key', config('environment.A\nlxc.hook.pre-start', 'x'), 400, /.+/],
  ['NUL in a value', config('environment.A', 'a\u0000b'), 400, /.+/],
  ['a sysctl of the host', config('linux.sysctl.kernel.core_pattern', '|/bin/sh'), 400, /.+/],
  ['config that is a list', instance({ config: ['a'] }), 400, /.+/],
  // Devices
  ['an unknown device type', device({ type: 'laser' }), 400, /.+/],
  ['a device without a type', device({ path: '/x' }), 400, /.+/],
  ['a nic on an unknown network', device({ type: 'nic', network: 'nope' }), [400, 404], /.+/],
  ['a nic name with a slash', device({ type: 'nic', network: 'lxdbr0', name: '../eth' }), 400, /.+/],
  ['a hwaddr with a line break', device({ type: 'nic', network: 'lxdbr0', hwaddr: '00:16:3e:00:00:01\nx' }), 400, /.+/],
  ['an address that is none', device({ type: 'nic', network: 'lxdbr0', 'ipv4.address': '10.0.0.999' }), 400, /.+/],
  [
    'a root disk on an unknown pool',
    instance({ devices: { root: { type: 'disk', path: '/', pool: 'nope' } } }),
    [400, 404],
    /Storage pool not found/,
  ],
  ['no root disk', instance({ profiles: [], devices: {} }), 400, /No root device could be found/],
  ['a device name with a line break', instance({ devices: { 'a\nb': { type: 'none' } } }), 400, /.+/],
  // Bodies
  ['JSON that breaks off', { method: 'POST', path: '/1.0/instances', body: '{"name":' }, 400, /.+/],
  ['a body that is a list', { method: 'POST', path: '/1.0/instances', body: '[]' }, 400, /.+/],
  ['a body that is a string', { method: 'POST', path: '/1.0/instances', body: '"x"' }, 400, /.+/],
  ['no body', { method: 'POST', path: '/1.0/instances' }, 400, /.+/],
  [
    'a body of 3 MiB',
    { method: 'POST', path: '/1.0/instances', body: JSON.stringify({ name: 'x', description: 'y'.repeat(3 << 20) }) },
    [400, 413],
    /.+/,
  ],
  [
    'JSON nested 20,000 deep',
    { method: 'POST', path: '/1.0/instances', body: '['.repeat(20_000) + ']'.repeat(20_000) },
    400,
    /.+/,
  ],
  [
    'binary that is no UTF-8',
    { method: 'PUT', path: `/1.0/instances/${good}/state`, body: Buffer.from([0xff, 0xfe, 0x00]) },
    400,
    /.+/,
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
    /.+/,
  ],
  [
    'a change of another version',
    { ...patch(`/1.0/instances/${good}`, { description: 'x' }), headers: { 'If-Match': '"0000"' } },
    412,
    /.+/,
  ],
  ['a change of a pool with an unknown key', patch('/1.0/storage-pools/default', { config: { nope: '1' } }), 400, /.+/],
  ['a change of a network that is none', patch('/1.0/networks/nope', { config: {} }), 404, /Network not found/],
  ['a project name with a slash', project({ name: 'a/b' }), 400, /may not contain slashes/],
  ['a project name with an underscore', project({ name: 'a_b' }), 400, /.+/],
  ['a project with an unknown key', project({ name: 'refused', config: { nope: '1' } }), 400, /.+/],
  ['deleting the default project', { method: 'DELETE', path: '/1.0/projects/default' }, [400, 403], /.+/],
  // State, exec, files
  ['an unknown action', put(`/1.0/instances/${good}/state`, { action: 'explode' }), 400, /.+/],
  [
    'state of an instance that is not there',
    put('/1.0/instances/nope/state', { action: 'start' }),
    404,
    /Instance not found/,
  ],
  ['state with a path for a name', put('/1.0/instances/..%2f..%2fetc/state', { action: 'start' }), [400, 404], /.+/],
  ['exec of an empty command', exec({ command: [], 'wait-for-websocket': true }), 400, /.+/],
  ['exec of no command', exec({}), 400, /.+/],
  ['exec with NUL in an argument', exec({ command: ['a\u0000b'], 'wait-for-websocket': true }), 400, /.+/],
  ['exec with a variable name that is none', exec({ command: ['true'], environment: { 'A=B\n': 'x' } }), 400, /.+/],
  ['exec as a user that is none', exec({ command: ['true'], user: -5 }), 400, /.+/],
  ['a file path with NUL', file('/etc/%00passwd'), [400, 404], /.+/],
  ['a file that is not there', file('/no/such'), 404, /Not Found/],
  ['a file without a path', { method: 'GET', path: `/1.0/instances/${good}/files` }, [400, 404], /.+/],
  [
    'a file mode that is none',
    { method: 'POST', path: `/1.0/instances/${good}/files?path=/tmp/x`, headers: { 'X-LXD-mode': 'rwx' }, body: 'x' },
    400,
    /.+/,
  ],
  [
    'a file owner that is none',
    { method: 'POST', path: `/1.0/instances/${good}/files?path=/tmp/x`, headers: { 'X-LXD-uid': '-1' }, body: 'x' },
    400,
    /.+/,
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
    /.+/,
  ],
  // Profiles, pools, networks, members, certificates, server, images
  ['a profile name with a slash', post('/1.0/profiles', { name: 'a/b' }), 400, /may not contain slashes/],
  ['a profile without a name', post('/1.0/profiles', {}), 400, /.+/],
  [
    'a profile with an unknown key',
    post('/1.0/profiles', { name: 'refused', config: { nope: '1' } }),
    400,
    /Unknown configuration key|nope/,
  ],
  ['deleting the default profile', { method: 'DELETE', path: '/1.0/profiles/default' }, 403, /cannot be deleted/],
  ['a pool of an unknown driver', pool({ name: 'refused', driver: 'floppy' }), [400, 404, 500], /.+/],
  ['a pool name with a slash', pool({ name: 'a/b', driver: 'dir' }), 400, /may not contain slashes/],
  ['a pool name with an option', pool({ name: '-f', driver: 'dir' }), 400, /.+/],
  ['a pool with an unknown key', pool({ name: 'refused', driver: 'dir', config: { nope: '1' } }), [400, 500], /.+/],
  [
    'a pool source with a line break',
    pool({ name: 'refused', driver: 'dir', config: { source: '/a\nb' } }),
    [400, 500],
    /.+/,
  ],
  ['a pool size that is none', pool({ name: 'refused', driver: 'btrfs', config: { size: 'big' } }), [400, 500], /.+/],
  [
    'a common key with a target',
    {
      ...pool({ name: 'refused', driver: 'dir', config: { 'rsync.bwlimit': '1' } }),
      path: '/1.0/storage-pools?target=host1',
    },
    [400, 500],
    /may not be used as member-specific key/,
  ],
  ['deleting a pool in use', { method: 'DELETE', path: '/1.0/storage-pools/default' }, 400, /currently in use/],
  ['a network name of 16 characters', network({ name: 'abcdefghijklmnop' }), 400, /.+/],
  ['a network name with a blank', network({ name: 'a b' }), 400, /.+/],
  [
    'a network address that is none',
    network({ name: 'refused0', config: { 'ipv4.address': '10.0.0.1' } }),
    [400, 500],
    /.+/,
  ],
  ['a network with an unknown key', network({ name: 'refused0', config: { nope: '1' } }), [400, 500], /.+/],
  ['a DNS domain with a line break', network({ name: 'refused0', config: { 'dns.domain': 'a\nb' } }), [400, 500], /.+/],
  [
    'a DHCP range with an option',
    network({ name: 'refused0', config: { 'ipv4.dhcp.ranges': '--conf-file=/etc/passwd' } }),
    [400, 500],
    /.+/,
  ],
  ['a member name with a slash', post('/1.0/cluster/members', { server_name: 'a/b' }), 400, /.+/],
  ['a member name with @', post('/1.0/cluster/members', { server_name: '@a' }), 400, /.+/],
  ['a member that is there already', post('/1.0/cluster/members', { server_name: 'host1' }), [400, 409], /already/],
  [
    'a certificate that is none',
    post('/1.0/certificates', { type: 'client', certificate: 'bm90IGEgY2VydA==' }),
    400,
    /Invalid certificate material/,
  ],
  ['an unknown server key', put('/1.0', { config: { 'nope.key': '1' } }), 400, /unknown key/],
  ['an image that is no archive', upload(randomBytes(100_000)), 400, /.+/],
  ['an image without metadata', upload(tarOf('rootfs/file', '0')), 400, /metadata/i],
  ['an image that climbs out', upload(tarOf('../../etc/cron.d/evil', '0')), 400, /.+/],
  ['an image with an absolute path', upload(tarOf('/etc/cron.d/evil', '0')), 400, /.+/],
  ['an image whose metadata is a link to the host', upload(tarOf('metadata.yaml', '2', '/etc/shadow')), 400, /.+/],
  ['an image whose metadata is a device', upload(tarOf('metadata.yaml', '3')), 400, /.+/],
  [
    'an image with another fingerprint than announced',
    upload(tarOf('metadata.yaml', '0'), { 'x-lxd-fingerprint': 'f'.repeat(64) }),
    400,
    /Fingerprints don't match/,
  ],
  ['an image with a path for a file name', upload(randomBytes(10), { 'x-lxd-filename': '../../x' }), 400, /.+/],
  [
    'an image with an alias that is taken',
    upload(randomBytes(1000), { 'x-lxd-aliases': 'alias=tiny' }),
    [400, 409],
    /already exists/,
  ],
  [
    'an image in parts that break off',
    upload(Buffer.from('--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\nhalf'), {
      'content-type': 'multipart/form-data; boundary=b',
    }),
    400,
    /.+/,
  ],
  [
    'an image in parts of other names',
    upload(Buffer.from('--b\r\nContent-Disposition: form-data; name="evil"\r\n\r\nx\r\n--b--\r\n'), {
      'content-type': 'multipart/form-data; boundary=b',
    }),
    400,
    /.+/,
  ],
  [
    'an image without content',
    { method: 'POST', path: '/1.0/images', headers: { 'content-type': 'application/octet-stream' } },
    400,
    /.+/,
  ],
  [
    'an alias for an image that is not there',
    post('/1.0/images/aliases', { name: 'refused', target: 'f'.repeat(64) }),
    [400, 404],
    /.+/,
  ],
  ['a path that is not there', { method: 'GET', path: '/1.0/../../etc/passwd' }, 404, /not found/],
  ['an operation id that is none', { method: 'DELETE', path: '/1.0/operations/..%2f..' }, [400, 404], /.+/],
];

/** The refusal itself, or that of the operation that it became. */
async function refusalOf(answer: ApiAnswer): Promise<{ code: number; error: string }> {
  if (answer.status !== 202) return { code: answer.body.error_code ?? 0, error: answer.body.error ?? '' };
  const ended = await api({ method: 'GET', path: `${answer.body.operation}/wait?timeout=30` });
  const operation = ended.body.metadata as { status_code: number; err: string };
  return { code: operation.status_code === 400 ? 400 : 0, error: operation.err };
}

describe('bad input', () => {
  it.each(CASES)('refuses %s', async (_case, request, status, text) => {
    const answer = await api(request);
    const refusal = await refusalOf(answer);
    expect([status].flat()).toContain(refusal.code);
    expect(refusal.error).toMatch(text);
    if (answer.status !== 202) {
      expect(answer.body).toMatchObject({ type: 'error', error_code: answer.status, metadata: null });
    }
    expect(await takeSnapshot()).toEqual(before);
  });

  it.each([
    ['GET', '/1.0/instances'],
    ['POST', '/1.0/instances'],
    ['GET', '/1.0/cluster/members'],
    ['DELETE', '/1.0/storage-pools/default'],
    ['GET', '/1.0/operations'],
    ['PUT', '/1.0'],
  ])('answers an untrusted %s %s with 403', async (method, path) => {
    const answer = await api({ method, path, anonymous: true, body: method === 'GET' ? undefined : '{}' });
    expect(answer).toMatchObject({ status: 403, body: { type: 'error', error: 'not authorized' } });
  });

  it('shows an untrusted caller LXD’s short form of /1.0 only', async () => {
    const { body } = await api({ method: 'GET', path: '/1.0', anonymous: true });
    expect(Object.keys(body.metadata as object).sort()).toEqual([
      'api_extensions',
      'api_status',
      'api_version',
      'auth',
      'auth_methods',
      'public',
    ]);
  });
});
