/**
 * Self-signed certificates, made by OpenSSL because Node cannot issue any. A server certificate's fingerprint is what clients
 * pin, so it is made once per data directory and kept.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, readFile, rename } from 'node:fs/promises';
import net from 'node:net';
import { run } from './run.ts';

export interface KeyPair {
  certificate: string;
  key: string;
}

/**
 * First DNS name of the server certificate. Clients that pinned it send this name (SNI) and check it in websockets
 * whatever address they dial.
 */
const SERVER_NAME = 'longshore';

/** Ten years, as LXD's own: rotating a pinned certificate breaks every client. */
const DAYS = '3650';

/** Reads the pair at these paths, making it first when the key is absent: ECDSA P-256, names and addresses as SANs. */
export async function ensureServerCertificate(
  files: { certificate: string; key: string },
  hosts: readonly string[],
): Promise<KeyPair> {
  const names = new Set(['DNS:' + SERVER_NAME, 'DNS:localhost', 'IP:127.0.0.1', 'IP:::1']);
  for (const host of hosts) names.add(net.isIP(host) === 0 ? `DNS:${host}` : `IP:${host}`);
  const extensions = [`subjectAltName=${[...names].join(',')}`, 'extendedKeyUsage=serverAuth'];
  return ensurePair(files, 'prime256v1', `/O=Longshore/CN=${SERVER_NAME}`, extensions);
}

/** The same for a client, as `lxc` makes its own: ECDSA P-384, extended key usage clientAuth. */
export async function ensureClientCertificate(
  files: { certificate: string; key: string },
  name: string,
): Promise<KeyPair> {
  return ensurePair(files, 'secp384r1', `/O=Longshore/CN=${name}`, ['extendedKeyUsage=clientAuth']);
}

async function ensurePair(
  files: { certificate: string; key: string },
  curve: string,
  subject: string,
  extensions: readonly string[],
): Promise<KeyPair> {
  if (!existsSync(files.key)) {
    const fresh = `${files.key}.new`;
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`, '-nodes', '-sha256'],
      ...['-days', DAYS, '-subj', subject, '-keyout', fresh, '-out', files.certificate],
      ...extensions.flatMap((extension) => ['-addext', extension]),
    ]);
    await chmod(fresh, 0o600);
    await rename(fresh, files.key);
  }
  return { certificate: await readFile(files.certificate, 'utf8'), key: await readFile(files.key, 'utf8') };
}

/** SHA-256 of the DER in lower-case hex: LXD's fingerprint. Throws when `pem` is no certificate. */
export const fingerprintOf = (pem: string): string =>
  new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();
