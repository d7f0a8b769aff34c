/** One HTTPS request with any client certificate or none, for answers that are no envelopes. */
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { exec } from '#agent/system/exec.ts';
import { cluster } from './support.ts';

export interface Identity {
  cert: Buffer;
  key: Buffer;
}

/** The certificate that `lxc` uses. */
export const administrator = (): Identity => ({
  cert: readFileSync(join(cluster.lxdConf, 'client.crt')),
  key: readFileSync(join(cluster.lxdConf, 'client.key')),
});

/** A certificate as an operator makes one, in files of `directory`. */
export async function makeIdentity(directory: string, name: string): Promise<Identity & { file: string }> {
  const [key, file] = [join(directory, `${name}.key`), join(directory, `${name}.crt`)];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1', '-nodes', '-days', '2'];
  await exec('openssl', ['req', '-x509', ...kind, '-subj', `/CN=${name}`, '-keyout', key, '-out', file]);
  return { file, cert: readFileSync(file), key: readFileSync(key) };
}

/** A `GET`. */
export function get(
  path: string,
  identity: Identity | null,
): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: cluster.port, path, rejectUnauthorized: false, agent: false };
    const sent = request({ ...options, ...(identity ?? {}) }, (response) => {
      const { statusCode: status = 0, headers } = response;
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status, headers, text: Buffer.concat(chunks).toString() }));
    });
    sent.on('error', reject);
    sent.end();
  });
}
