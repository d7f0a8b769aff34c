/** `longshore agent upgrade [member]`: asks the control plane through this host's socket, and waits for the outcome. */
import { request } from 'node:http';
import { z } from 'zod';
import { readConfig } from '../config.ts';

/** Download, restart, two trials and the way back. */
const LIMIT_MS = 180_000;
const PAUSE_MS = 500;
/** An agent that starts has its link within a second or two. */
const START_LIMIT_MS = 10_000;

const Envelope = z.object({
  error: z.string().optional(),
  error_code: z.number().optional(),
  metadata: z.object({ id: z.string(), status_code: z.number(), err: z.string() }).nullish(),
});

/** Resolves when the agent runs the release that the cluster offers. Throws the reason when it does not. */
export async function upgradeAgent(configPath: string, wanted: string | undefined): Promise<void> {
  const config = readConfig(configPath, process.env);
  const [socketPath] = config.socketPaths;
  if (socketPath === undefined) throw new Error(`${configPath} names no socket to ask through`);
  const member = wanted ?? config.member;
  const started = await start(socketPath, `/1.0/cluster/members/${encodeURIComponent(member)}/upgrade`);
  const id = started?.metadata?.id;
  if (id === undefined) throw new Error(started?.error ?? 'The agent of this host does not answer');
  console.log(`Upgrading the agent of "${member}"`);
  const deadline = Date.now() + LIMIT_MS;
  while (Date.now() < deadline) {
    // The agent that serves the socket may be the one that restarts.
    const metadata = (await ask(socketPath, 'GET', `/1.0/operations/${id}`))?.metadata;
    if (metadata?.status_code === 200) return console.log('The agent is up to date');
    if (metadata && metadata.status_code >= 400) throw new Error(metadata.err);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  throw new Error(`The upgrade takes longer than ${LIMIT_MS / 1000} s; see operation ${id}`);
}

/** Nothing was started by a request that nobody could take: the agent, or the link, may just be starting. */
async function start(socketPath: string, path: string): Promise<z.infer<typeof Envelope> | null> {
  for (const deadline = Date.now() + START_LIMIT_MS; ; ) {
    const answer = await ask(socketPath, 'POST', path);
    const isAway = answer === null || answer.error_code === 503;
    if (!isAway || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** Null when nobody answers, or with something else than the API's JSON. */
function ask(socketPath: string, method: string, path: string): Promise<z.infer<typeof Envelope> | null> {
  return new Promise((resolve) => {
    const sent = request({ socketPath, method, path, timeout: 10_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve(null));
      response.on('end', () => {
        try {
          resolve(Envelope.parse(JSON.parse(Buffer.concat(chunks).toString())));
        } catch {
          resolve(null);
        }
      });
    });
    sent.on('timeout', () => sent.destroy());
    sent.on('error', () => resolve(null));
    sent.end();
  });
}
