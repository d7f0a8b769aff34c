/** How other programs of this machine ask the one that runs the playground: one JSON line each way on a unix socket. */
import { rmSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';

export const Verb = z.enum([
  ...(['info', 'status', 'add', 'cut', 'heal', 'crash', 'boot'] as const),
  ...(['ensure-bare', 'join', 'start-agent', 'stop-agent', 'kill-agent', 'drop'] as const),
]);
export type Verb = z.infer<typeof Verb>;

export const Request = z.object({ verb: Verb, host: z.number().int().optional() });
export type Request = z.infer<typeof Request>;

const Answer = z.union([z.object({ ok: z.unknown() }), z.object({ error: z.string() })]);

/** Serves `handle` on the socket until the server is closed. Errors become the caller's. */
export function serve(socketPath: string, handle: (request: Request) => Promise<unknown>): Promise<net.Server> {
  rmSync(socketPath, { force: true });
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    createInterface({ input: socket }).once('line', (line) => {
      void answer(line, handle).then((text) => socket.end(`${text}\n`));
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => resolve(server));
  });
}

async function answer(line: string, handle: (request: Request) => Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify({ ok: (await handle(Request.parse(JSON.parse(line)))) ?? null });
  } catch (error) {
    return JSON.stringify({ error: error instanceof Error ? error.message : String(error) });
  }
}

/** Asks; throws the other side's message, or that nobody is there. */
export function ask(socketPath: string, request: Request): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(socketPath, () => socket.write(`${JSON.stringify(request)}\n`));
    let text = '';
    socket.on('data', (chunk) => {
      text += String(chunk);
    });
    socket.once('error', (cause) => reject(new Error('The playground does not run: npm start', { cause })));
    socket.once('end', () => {
      const parsed = Answer.safeParse(JSON.parse(text || '{}'));
      if (!parsed.success) reject(new Error('The playground ended'));
      else if ('error' in parsed.data) reject(new Error(parsed.data.error));
      else resolve(parsed.data.ok);
    });
  });
}
