/** The cluster that faults are made in: the playground of `npm start`, in this process, with its control plane in reach. */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import path from 'node:path';
import { ensureTiny } from '#selfhost/images/tiny.ts';
import {
  ensureBareHost,
  joinBareHost,
  type Playground,
  startPlayground,
  stopPlayground,
} from '#selfhost/playground/cluster.ts';
import { silentReport } from '#selfhost/playground/progress.ts';
import { createBridge, createPools, fillDefaultProfile, importImage } from '#selfhost/playground/resources.ts';
import { sweepRuns } from '#selfhost/playground/runs.ts';
import { findFreePort } from '#selfhost/port.ts';

export interface Answer {
  status: number;
  body: { error?: string; operation?: string; metadata?: unknown };
}

export interface World {
  playground: Playground;
  hosts: readonly number[];
  /** One request. Rejects when nothing answers, or not with JSON. */
  api(method: string, url: string, body?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

/** No request of the campaign may hang: `…/wait` asks for less than this. */
const REQUEST_TIMEOUT_MS = 20_000;

/** Three hosts with the pools `tank` and `default` and the image `tiny`. What it made is gone after `stop`. */
export async function startWorld(): Promise<World> {
  await sweepRuns();
  const playground = await startPlayground({
    port: await findFreePort(),
    conf: (run) => path.join(run.dir, 'lxc-conf'),
    report: silentReport,
  });
  const stop = () => stopPlayground(playground);
  const hosts = [1, 2, 3];
  try {
    await Promise.all(hosts.map((number) => ensureBareHost(playground, number)));
    await Promise.all(hosts.map((number) => joinBareHost(playground, number)));
    await Promise.all([createPools(playground), createBridge(playground)]);
    await fillDefaultProfile(playground);
    await importImage(playground, await ensureTiny(), 'tiny');
    return { playground, hosts, api: createApi(playground), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function createApi({ client, port }: Playground): World['api'] {
  const [cert, key] = ['client.crt', 'client.key'].map((name) => readFileSync(path.join(client.conf, name)));
  return (method, url, body) =>
    new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port,
        method,
        path: url,
        cert,
        key,
        rejectUnauthorized: false,
        agent: false,
      };
      const text = body === undefined ? '' : JSON.stringify(body);
      const sent = request({ ...options, headers: { 'content-length': Buffer.byteLength(text) } }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          try {
            resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) });
          } catch (error) {
            reject(error);
          }
        });
      });
      sent.setTimeout(REQUEST_TIMEOUT_MS, () => sent.destroy(new Error('no answer in time')));
      sent.on('error', reject);
      sent.end(text);
    });
}
