/** `server.crt` and `server.key`: what `lxd init` shows the cluster it joins (lxd-api 8.4). */
import { chmodSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Exec } from '../system/exec.ts';

/** Ten years, as LXD's own. */
const DAYS = '3650';

/** Makes the pair unless it is there. Throws when `openssl` cannot: Node makes no certificates. */
export async function ensureServerPair(exec: Exec, directory: string, hostname: string): Promise<void> {
  const [certificate, key] = [join(directory, 'server.crt'), join(directory, 'server.key')];
  if (existsSync(key) && existsSync(certificate)) return;
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const fresh = `${key}.new`;
  await exec('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1', '-nodes', '-sha256', '-days', DAYS],
    ...['-subj', `/O=linuxcontainers.org/CN=root@${hostname}`, '-keyout', fresh, '-out', certificate],
    ...['-addext', 'extendedKeyUsage=clientAuth,serverAuth', '-addext', 'subjectAltName=DNS:longshore'],
  ]);
  chmodSync(fresh, 0o600);
  renameSync(fresh, key);
}
