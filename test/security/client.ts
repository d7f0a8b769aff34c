/** Requests as an attacker sends them: any identity, any bytes that HTTP can carry, one kept connection after another. */
import https from 'node:https';
import { expect } from 'vitest';

/** Who sends: a TLS certificate, a header, both or neither. */
export interface Identity {
  certificate?: string;
  key?: string;
  headers?: Record<string, string>;
}

export interface Sent {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

export interface Answered {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

export interface Sender {
  send(sent: Sent): Promise<Answered>;
  close(): void;
}

/** No answer of the API takes longer, whatever is asked. */
const PATIENCE_MS = 20_000;
/** What is read of an answer. */
const READ_BYTES = 256 * 1024;
/** Requests of one identity at the same time. */
const LANES = 8;

/** Every input of this run, whatever was done with it. */
export const tried = { requests: 0, parsed: 0, frames: 0 };

/** `from`: an address of this machine, in 127.0.0.0/8. */
export function createSender(port: number, { certificate, key, headers }: Identity, from = '127.0.0.1'): Sender {
  const agent = new https.Agent({
    ...{ keepAlive: true, maxSockets: LANES, rejectUnauthorized: false, localAddress: from },
    ...{ cert: certificate, key },
  });
  return {
    send: (sent) => request(agent, port, { ...sent, headers: { ...headers, ...sent.headers } }),
    close: () => agent.destroy(),
  };
}

function request(agent: https.Agent, port: number, { method, path, headers, body }: Sent): Promise<Answered> {
  tried.requests += 1;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(new Error(`${method} ${path.slice(0, 200)} was not answered: ${cause.message}`, { cause }));
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const options = { agent, method, host: '127.0.0.1', port, path, headers: { ...length, ...headers } };
    const out = https.request(options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        if (size < READ_BYTES) chunks.push(chunk);
        size += chunk.length;
      });
      response.on('error', fail);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    out.setTimeout(PATIENCE_MS, () => out.destroy(new Error('no answer in time')));
    // A refusal may come before the body has been taken.
    out.on('error', (error) => fail(error));
    out.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text: '' });
    });
    out.end(body);
  });
}

/** Runs `act` for every item, `LANES` at a time. */
export async function each<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const run = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await act(item);
  };
  await Promise.all(Array.from({ length: LANES }, run));
}

/** Texts that only we should read: SQL, stack traces, paths of sources. */
const INSIDES =
  /SQLITE|libsql|drizzle|\bselect .+ from |insert into|node_modules|\.ts:\d+|\bat \w+ \(|TypeError|RangeError/i;

const envelope = (status: number) => ({ type: 'error', error: expect.any(String), error_code: status, metadata: null });
const ofAgents = { error: { code: expect.any(String), message: expect.any(String) } };
/** RFC 6749, 5.2. */
const ofOAuth = { error: expect.stringMatching(/^[a-z_]+$/) };

/** In what form a path says no; what does not even reach its handler has the API's everywhere. */
const formsFor = (path: string, status: number): unknown[] => [
  envelope(status),
  ...(path.startsWith('/agent/') ? [ofAgents] : []),
  ...(path.startsWith('/issuer/') ? [ofOAuth] : []),
];

/**
 * What is wrong with an answer, whoever asked whatever; null when nothing is. Refusals have the form that clients of that
 * path read, without a text from inside; nothing is 5xx but what says "not here" or "not now".
 */
export function faultOf(path: string, { status, headers, text }: Answered): string | null {
  if (status < 400) return null;
  if (status >= 500 && status !== 501 && status !== 503 && !isLxdRefusal(status, text))
    return `status ${status}: ${text}`;
  if (INSIDES.test(text)) return `tells of its inside: ${text}`;
  const type = String(headers['content-type']);
  // The login is for people: its pages say what is wrong in a page.
  if (path.startsWith('/issuer/') && type.startsWith('text/html')) return null;
  if (!type.startsWith('application/json')) return `no envelope: ${status} ${text}`;
  const body: unknown = JSON.parse(text);
  return formsFor(path, status).some((form) => matches(body, form)) ? null : `not the envelope: ${text}`;
}

function matches(body: unknown, form: unknown): boolean {
  try {
    expect(body).toMatchObject(form as object);
    return true;
  } catch {
    return false;
  }
}

/** Some refusals are 500 in LXD, with a text that scripts match; ours for what went wrong says so. */
const isLxdRefusal = (status: number, text: string): boolean => status === 500 && !text.includes('Internal error');
