/** Client certificates of every kind an attacker may have. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureClientCertificate, type KeyPair } from '#selfhost/certificate.ts';
import { run } from '#selfhost/run.ts';

export const makeCertificate = (dir: string, name: string): Promise<KeyPair> =>
  ensureClientCertificate({ certificate: path.join(dir, `${name}.crt`), key: path.join(dir, `${name}.key`) }, name);

/** The same key in a certificate whose time was over yesterday. */
export async function makeExpired(dir: string, name: string): Promise<KeyPair> {
  const { key } = await makeCertificate(dir, name);
  const [keyFile, request, old] = ['key', 'csr', 'old'].map((end) => path.join(dir, `${name}.${end}`));
  if (!keyFile || !request || !old) throw new Error('No file names');
  await run('openssl', ['req', '-new', '-key', keyFile, '-subj', `/CN=${name}`, '-out', request]);
  await run('openssl', ['x509', '-req', '-in', request, '-signkey', keyFile, '-days', '-1', '-out', old]);
  return { certificate: await readFile(old, 'utf8'), key };
}
