/** Plain HTTPS requests with the admin's client certificate, for what the stock client would not send. */
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { cluster } from './support.ts';

export interface ApiAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: { type?: string; error_code?: number; error?: string; operation?: string; metadata?: unknown };
}

export interface ApiRequest {
  method: string;
  path: string;
  body?: string | Buffer;
  headers?: Record<string, string>;
  /** Without the client certificate. */
  anonymous?: boolean;
}

/** The parsed envelope; a body that is not JSON fails the test that asked. */
export async function api({ method, path, body, headers, anonymous }: ApiRequest): Promise<ApiAnswer> {
  const identity = anonymous
    ? {}
    : {
        cert: readFileSync(join(cluster.lxdConf, 'client.crt')),
        key: readFileSync(join(cluster.lxdConf, 'client.key')),
      };
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port: cluster.port,
        method,
        path,
        // Node sends a DELETE's body without its length, as another request.
        headers: { ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }), ...headers },
        rejectUnauthorized: false,
        agent: false,
        ...identity,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          try {
            const { headers, statusCode: status = 0 } = response;
            resolve({ status, headers, body: JSON.parse(text) as ApiAnswer['body'] });
          } catch {
            reject(new Error(`${method} ${path} answered ${response.statusCode} with no JSON: ${text.slice(0, 200)}`));
          }
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
