/** Bad profiles, pools, networks, members, certificates, settings, images and paths. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { ApiRequest } from '../api.ts';
import { patch, post, put, type Refusal } from './request.ts';

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

export const REFUSED_RESOURCES: Refusal[] = [
  // Projects and changes
  [
    'a change of a pool with an unknown key',
    patch('/1.0/storage-pools/default', { config: { nope: '1' } }),
    400,
    /Invalid option "nope"/,
  ],
  ['a change of a network that is none', patch('/1.0/networks/nope', { config: {} }), 404, /Network not found/],
  ['a project name with a slash', project({ name: 'a/b' }), 400, /may not contain slashes/],
  ['a project name with an underscore', project({ name: 'a_b' }), 400, /Project names may not contain underscores/],
  [
    'a project with an unknown key',
    project({ name: 'refused', config: { nope: '1' } }),
    400,
    /Invalid project configuration key "nope": Unknown key/,
  ],
  [
    'deleting the default project',
    { method: 'DELETE', path: '/1.0/projects/default' },
    [400, 403],
    /The 'default' project cannot be deleted/,
  ],
  // Profiles, pools, networks, members, certificates, server, images
  ['a profile name with a slash', post('/1.0/profiles', { name: 'a/b' }), 400, /may not contain slashes/],
  ['a profile without a name', post('/1.0/profiles', {}), 400, /No name provided/],
  [
    'a profile with an unknown key',
    post('/1.0/profiles', { name: 'refused', config: { nope: '1' } }),
    400,
    /Unknown configuration key|nope/,
  ],
  ['deleting the default profile', { method: 'DELETE', path: '/1.0/profiles/default' }, 403, /cannot be deleted/],
  [
    'a pool of an unknown driver',
    pool({ name: 'refused', driver: 'floppy' }),
    [400, 404, 500],
    /Storage driver "floppy" is not supported \(use one of: zfs, btrfs, dir\)/,
  ],
  ['a pool name with a slash', pool({ name: 'a/b', driver: 'dir' }), 400, /may not contain slashes/],
  ['a pool name with an option', pool({ name: '-f', driver: 'dir' }), 400, /Invalid storage pool name "-f"/],
  [
    'a pool with an unknown key',
    pool({ name: 'refused', driver: 'dir', config: { nope: '1' } }),
    [400, 500],
    /Invalid option "nope"/,
  ],
  [
    'a pool source with a line break',
    pool({ name: 'refused', driver: 'dir', config: { source: '/a\nb' } }),
    [400, 500],
    /Line breaks are not allowed/,
  ],
  [
    'a pool size that is none',
    pool({ name: 'refused', driver: 'btrfs', config: { size: 'big' } }),
    [400, 500],
    /Invalid value for option "size": Invalid size "big"/,
  ],
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
  [
    'a network name of 16 characters',
    network({ name: 'abcdefghijklmnop' }),
    400,
    /Network interface is too long \(maximum 15 characters\)/,
  ],
  ['a network name with a blank', network({ name: 'a b' }), 400, /Network interface contains invalid characters/],
  [
    'a network address that is none',
    network({ name: 'refused0', config: { 'ipv4.address': '10.0.0.1' } }),
    [400, 500],
    /Not an IPv4 address with a subnet/,
  ],
  [
    'a network with an unknown key',
    network({ name: 'refused0', config: { nope: '1' } }),
    [400, 500],
    /Invalid option for network "refused0" option "nope"/,
  ],
  [
    'a DNS domain with a line break',
    network({ name: 'refused0', config: { 'dns.domain': 'a\nb' } }),
    [400, 500],
    /Invalid value for network "refused0" option "dns\.domain":/,
  ],
  [
    'a DHCP range with an option',
    network({ name: 'refused0', config: { 'ipv4.dhcp.ranges': '--conf-file=/etc/passwd' } }),
    [400, 500],
    /Invalid IPv4 range/,
  ],
  [
    'a member name with a slash',
    post('/1.0/cluster/members', { server_name: 'a/b' }),
    400,
    /Invalid cluster member name "a\/b"/,
  ],
  [
    'a member name with @',
    post('/1.0/cluster/members', { server_name: '@a' }),
    400,
    /ServerName may not start with "@"/,
  ],
  ['a member that is there already', post('/1.0/cluster/members', { server_name: 'host1' }), [400, 409], /already/],
  [
    'a certificate that is none',
    post('/1.0/certificates', { type: 'client', certificate: 'bm90IGEgY2VydA==' }),
    400,
    /Invalid certificate material/,
  ],
  ['an unknown server key', put('/1.0', { config: { 'nope.key': '1' } }), 400, /unknown key/],
  ['an image that is no archive', upload(randomBytes(100_000)), 400, /Unsupported compression/],
  ['an image without metadata', upload(tarOf('rootfs/file', '0')), 400, /metadata/i],
  [
    'an image that climbs out',
    upload(tarOf('../../etc/cron.d/evil', '0')),
    400,
    /Metadata tarball has no metadata\.yaml/,
  ],
  [
    'an image with an absolute path',
    upload(tarOf('/etc/cron.d/evil', '0')),
    400,
    /Metadata tarball has no metadata\.yaml/,
  ],
  [
    'an image whose metadata is a link to the host',
    upload(tarOf('metadata.yaml', '2', '/etc/shadow')),
    400,
    /Invalid image archive: metadata\.yaml is not a regular file/,
  ],
  [
    'an image whose metadata is a device',
    upload(tarOf('metadata.yaml', '3')),
    400,
    /Invalid image archive: metadata\.yaml is not a regular file/,
  ],
  [
    'an image with another fingerprint than announced',
    upload(tarOf('metadata.yaml', '0'), { 'x-lxd-fingerprint': 'f'.repeat(64) }),
    400,
    /Fingerprints don't match/,
  ],
  [
    'an image with a path for a file name',
    upload(randomBytes(10), { 'x-lxd-filename': '../../x' }),
    400,
    /Invalid image file name/,
  ],
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
    /The image part "metadata" is empty/,
  ],
  [
    'an image in parts of other names',
    upload(Buffer.from('--b\r\nContent-Disposition: form-data; name="evil"\r\n\r\nx\r\n--b--\r\n'), {
      'content-type': 'multipart/form-data; boundary=b',
    }),
    400,
    /Malformed multipart body: expected the part "metadata", got "evil"/,
  ],
  [
    'an image without content',
    { method: 'POST', path: '/1.0/images', headers: { 'content-type': 'application/octet-stream' } },
    400,
    /The image is empty/,
  ],
  [
    'an alias for an image that is not there',
    post('/1.0/images/aliases', { name: 'refused', target: 'f'.repeat(64) }),
    [400, 404],
    /Image not found/,
  ],
  ['a path that is not there', { method: 'GET', path: '/1.0/../../etc/passwd' }, 404, /not found/],
  [
    'an operation id that is none',
    { method: 'DELETE', path: '/1.0/operations/..%2f..' },
    [400, 404],
    /Operation not found/,
  ],
];
