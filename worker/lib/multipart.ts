/**
 * `multipart/form-data` as a stream: parts come one after another, each with its body as a stream of its own. Memory stays
 * at one chunk and a delimiter, whatever the size of the parts and wherever the chunks are cut.
 */
import { badRequest } from '#protocol/errors.ts';

export interface MultipartPart {
  name: string;
  /** Empty when the part has none. */
  filename: string;
  body: ReadableStream<Uint8Array>;
}

/** A part's headers are a few lines; more is no form of a known client. */
const HEADER_LIMIT_BYTES = 16 * 1024;

const CR = 13;
const LF = 10;
const DASH = 45;

const malformed = (why: string) => badRequest(`Malformed multipart body: ${why}`);

/** The boundary of a `multipart/form-data` content type; null for any other type. Throws 400 when it has none or a bad one. */
export function multipartBoundary(contentType: string): string | null {
  if (!/^\s*multipart\/form-data\s*(;|$)/i.test(contentType)) return null;
  const match = /;\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2] ?? '';
  if (!/^[0-9A-Za-z'()+_,./:=? -]{1,70}$/.test(boundary) || boundary.endsWith(' '))
    throw malformed('no valid boundary');
  return boundary;
}

/**
 * The parts in order. Asking for the next part skips what is unread of the current one.
 * Throws `bad_request` (in a part's stream too) for a body that is malformed or ends early.
 */
export async function* readMultipart(
  body: ReadableStream<Uint8Array>,
  boundary: string,
): AsyncGenerator<MultipartPart, void, undefined> {
  const input = openInput(body);
  const delimiter = new TextEncoder().encode(`\r\n--${boundary}`);
  try {
    // The first delimiter has no line before it: one is put there.
    input.prepend(new Uint8Array([CR, LF]));
    for await (const _ of readUntil(input, delimiter));
    while (await nextIsPart(input)) {
      const headers = await readHeaders(input);
      const chunks = readUntil(input, delimiter);
      yield { ...readDisposition(headers), body: toStream(chunks) };
      for await (const _ of chunks);
    }
  } finally {
    await input.close();
  }
}

interface Input {
  /** What is read and not yet used. */
  buffer: Uint8Array;
  /** Adds the next chunk to the buffer; false at the end. */
  fill(): Promise<boolean>;
  prepend(bytes: Uint8Array): void;
  take(count: number): Uint8Array;
  close(): Promise<void>;
}

function openInput(body: ReadableStream<Uint8Array>): Input {
  const reader = body.getReader();
  let ended = false;
  const join = (a: Uint8Array, b: Uint8Array) => {
    if (a.byteLength === 0) return b;
    const joined = new Uint8Array(a.byteLength + b.byteLength);
    joined.set(a);
    joined.set(b, a.byteLength);
    return joined;
  };
  return {
    buffer: new Uint8Array(),
    async fill() {
      if (ended) return false;
      const { done, value } = await reader.read();
      ended = done;
      if (value !== undefined) this.buffer = join(this.buffer, value);
      return !done;
    },
    prepend(bytes) {
      this.buffer = join(bytes, this.buffer);
    },
    take(count) {
      const taken = this.buffer.subarray(0, count);
      this.buffer = this.buffer.subarray(count);
      return taken;
    },
    async close() {
      if (!ended) await reader.cancel().catch(() => undefined);
    },
  };
}

/** Everything up to the delimiter, which is taken too. Running it to its end twice is harmless. */
async function* readUntil(input: Input, delimiter: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (;;) {
    const at = indexOf(input.buffer, delimiter);
    if (at >= 0) {
      const rest = input.take(at);
      input.take(delimiter.byteLength);
      if (rest.byteLength > 0) yield rest;
      return;
    }
    // The end of the buffer may be the beginning of a delimiter.
    const safe = input.buffer.byteLength - delimiter.byteLength + 1;
    if (safe > 0) yield input.take(safe);
    if (!(await input.fill())) throw malformed('it ends before its last boundary');
  }
}

function indexOf(haystack: Uint8Array, needle: Uint8Array): number {
  const last = haystack.byteLength - needle.byteLength;
  for (let at = haystack.indexOf(CR); at >= 0 && at <= last; at = haystack.indexOf(CR, at + 1)) {
    let same = 1;
    while (same < needle.byteLength && haystack[at + same] === needle[same]) same += 1;
    if (same === needle.byteLength) return at;
  }
  return -1;
}

/** After a delimiter: `--` ends the body, a line end begins a part. */
async function nextIsPart(input: Input): Promise<boolean> {
  while (input.buffer.byteLength < 2) {
    if (!(await input.fill())) throw malformed('it ends before its last boundary');
  }
  if (input.buffer[0] === DASH && input.buffer[1] === DASH) return false;
  const padding = await readLine(input, HEADER_LIMIT_BYTES);
  if (padding.trim() !== '') throw malformed('a boundary is followed by other text');
  return true;
}

/** One line without its CR LF. */
async function readLine(input: Input, limitBytes: number): Promise<string> {
  for (;;) {
    const at = input.buffer.indexOf(LF);
    if (at >= 0 && at <= limitBytes) {
      const line = new TextDecoder().decode(input.take(at));
      input.take(1);
      if (!line.endsWith('\r')) throw malformed('a header line has no CR LF');
      return line.slice(0, -1);
    }
    if (input.buffer.byteLength > limitBytes) throw malformed('the headers of a part are too long');
    if (!(await input.fill())) throw malformed('it ends inside the headers of a part');
  }
}

async function readHeaders(input: Input): Promise<Map<string, string>> {
  const headers = new Map<string, string>();
  let left = HEADER_LIMIT_BYTES;
  for (;;) {
    const line = await readLine(input, left);
    left -= line.length + 2;
    if (line === '') return headers;
    const colon = line.indexOf(':');
    if (colon < 1) throw malformed('a header of a part cannot be read');
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
}

function readDisposition(headers: Map<string, string>): { name: string; filename: string } {
  const value = headers.get('content-disposition') ?? '';
  if (!/^form-data\s*(;|$)/i.test(value)) throw malformed('a part is no form data');
  const parameters = new Map<string, string>();
  for (const [, key, quoted, bare] of value.matchAll(/;\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g)) {
    if (key !== undefined) parameters.set(key.toLowerCase(), (quoted ?? bare ?? '').replace(/\\(.)/g, '$1'));
  }
  const name = parameters.get('name');
  if (name === undefined || name === '') throw malformed('a part has no name');
  return { name, filename: parameters.get('filename') ?? '' };
}

function toStream(chunks: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}
