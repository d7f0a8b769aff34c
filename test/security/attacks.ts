/** What is sent: bodies, paths, queries, headers and methods that programs trip over. */
import fc from 'fast-check';
import { arbitraryOf } from './arbitrary.ts';
import type { RouteUnderTest } from './routes.ts';

/** A body that the route's schema takes, the same in every run. */
export function bodyFor({ body }: RouteUnderTest): string {
  if (body === null) return '{}';
  const candidates = fc.sample(arbitraryOf(body, { hostile: false }), { numRuns: 20, seed: 1 });
  return JSON.stringify(candidates.find((candidate) => body.safeParse(candidate).success) ?? {});
}

interface HostileBody {
  name: string;
  body: string | Buffer;
  headers?: Record<string, string>;
  /** No route can take it for a good one. */
  refused: boolean;
}

const DEPTH = 10_000;
const deepArray = '['.repeat(DEPTH) + ']'.repeat(DEPTH);
const deepObject = '{"a":'.repeat(DEPTH) + '1' + '}'.repeat(DEPTH);
const MEBIBYTE = 1024 * 1024;

export const HOSTILE_BODIES: readonly HostileBody[] = [
  { name: 'more than a mebibyte', body: `{"name":"${'x'.repeat(MEBIBYTE)}"}`, refused: true },
  { name: 'half a JSON text', body: '{"name":"guarded"', refused: true },
  { name: 'two JSON texts', body: '{}{}', refused: true },
  { name: 'no JSON', body: '<name>guarded</name>', headers: { 'content-type': 'text/xml' }, refused: true },
  { name: 'bytes that are no text', body: Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc0]), refused: true },
  { name: 'an array', body: '[]', refused: true },
  { name: 'a number', body: '7', refused: true },
  { name: 'a string', body: '"guarded"', refused: true },
  { name: 'true', body: 'true', refused: true },
  { name: 'ten thousand arrays in one another', body: deepArray, refused: true },
  { name: 'a number that no double holds', body: `{"name":${'9'.repeat(400)}}`, refused: false },
  { name: 'ten thousand objects in one another', body: deepObject, refused: false },
  { name: 'depth below a known field', body: `{"config":${deepObject},"name":"x"}`, refused: false },
  { name: 'depth and a key for repetition', body: deepObject, headers: { 'idempotency-key': 'deep' }, refused: false },
  { name: 'fields that nobody knows', body: '{"zz":1,"":{},"constructor":"x","toString":null}', refused: false },
  { name: 'a prototype', body: '{"__proto__":{"admin":true},"config":{"__proto__":"x"}}', refused: false },
  { name: 'the same field twice', body: '{"name":"a","name":"../b"}', refused: false },
  {
    name: 'NUL and line ends',
    body: '{"name":"a\\u0000b","description":"a\\nb\\r","config":{"user.a\\n":"b"}}',
    refused: false,
  },
  {
    name: 'half a surrogate',
    body: '{"name":"\\ud800","description":"\\udfff","config":{"user.a":"\\ud800"}}',
    refused: false,
  },
  {
    name: 'another type than it says',
    body: '{"name":"absent"}',
    headers: { 'content-type': 'image/png' },
    refused: false,
  },
  { name: 'a byte order mark', body: '\ufeff{"name":"../absent"}', refused: false },
];

/** In the place of a name. What they decode to is no name, or one of nothing. */
export const HOSTILE_PATHS: readonly string[] = [
  ...[
    '%2e%2e',
    '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    '..%2f..%2f1.0%2fimages',
    '%2f',
    '%5c..%5c',
    '%00',
    'x%00.png',
    '%0a',
  ],
  ...['%e0%a4%a', '%', '%ff%fe', '%ed%a0%80', 'x'.repeat(4_000), '%f0%9f%92%a9', 'a%20b', '%25%32%65'],
  ...[
    '*',
    '--help',
    "'%20or%201=1--",
    '%7bname%7d',
    '__proto__',
    '$(id)',
    '//x',
    './/x',
    '..;/x',
    'x/%2e',
    '%40all',
    '-1',
  ],
];

/** For parameters that every route takes, and for the route's own. */
export function hostileQueries(own: readonly string[]): string[] {
  const values = ['', '%00', '%ff', '-1', '1e999', 'x'.repeat(5_000), '%0a', '..', '((((', '%ed%a0%80', "'", 'null'];
  const always = ['project=%00', 'project=absent', 'recursion=99999999999999999999', 'recursion=-1', 'recursion=%00'];
  const odd = [
    'target=%00',
    'target=absent',
    'all-projects=true&project=default',
    '&&&===',
    '%',
    '%zz=%zz',
    '__proto__=1',
  ];
  const many = Array.from({ length: 300 }, (_, index) => `a${index}=b`).join('&');
  const filters = [
    'filter=name%20eq%20((((',
    `filter=${'not%20'.repeat(500)}x`,
    'filter=a%20eq%20b%20and',
    `filter=${'('.repeat(2_000)}`,
  ];
  return [...always, ...odd, many, ...filters, ...own.flatMap((name) => values.map((value) => `${name}=${value}`))];
}

export const HOSTILE_HEADERS: readonly Record<string, string>[] = [
  { 'idempotency-key': 'x'.repeat(5_000) },
  { 'idempotency-key': '\u00ff\u0080' },
  { authorization: `Bearer ${'a.'.repeat(4_000)}` },
  { authorization: 'Bearer' },
  { 'if-match': '"'.repeat(3_000) },
  { 'content-type': 'multipart/form-data' },
  { 'content-type': `multipart/form-data; boundary=${'b'.repeat(3_000)}` },
  { 'content-type': 'multipart/form-data; boundary="' },
  { 'x-lxd-type': '../..', 'x-lxd-uid': '-1', 'x-lxd-mode': '99999999', 'x-lxd-write': 'x' },
  { 'x-lxd-uid': '1e9', 'x-lxd-gid': 'NaN', 'x-lxd-mode': '0x', 'x-lxd-fingerprint': 'zz', 'x-lxd-properties': '%zz' },
  { upgrade: 'websocket', connection: 'Upgrade', 'sec-websocket-version': '1' },
  { upgrade: 'h2c', connection: 'Upgrade, HTTP2-Settings', 'http2-settings': 'AAMAAABkAARAAAAAAAIAAAAA' },
  { 'x-http-method-override': 'DELETE', 'x-original-url': '/1.0/profiles', 'x-forwarded-for': "';--" },
  { host: 'evil.example' },
  { range: 'bytes=0-0,-1', 'accept-encoding': 'zz', te: 'zz' },
  { 'cf-connecting-ip': '\u00ff', 'webhook-id': 'x', 'webhook-timestamp': 'NaN', 'webhook-signature': 'v1,' },
];

export const HOSTILE_METHODS: readonly string[] = [
  ...[
    'GET',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'PROPFIND',
    'MKCOL',
    'COPY',
    'LOCK',
    'PURGE',
    'QUERY',
  ],
];
