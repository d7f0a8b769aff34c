/** The secrets of a self-hosted control plane: the database's key pair and the worker's signing secret. Made once, mode 0600. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { exportPKCS8, exportSPKI, generateKeyPair, importPKCS8, SignJWT } from 'jose';
import { writePrivate } from './private-file.ts';

export interface Secrets {
  /** File with the public key that sqld checks tokens against. */
  databaseKeyFile: string;
  /** Token with full rights on the database. Signed anew at each start, so it needs no expiry that could strike at night. */
  databaseToken: string;
  /** 32 random bytes in base64. */
  signingSecret: string;
}

/** Reads the secrets under `dir`, making what is absent. */
export async function ensureSecrets(dir: string): Promise<Secrets> {
  const publicFile = path.join(dir, 'database.pub');
  const privateFile = path.join(dir, 'database.key');
  if (!existsSync(privateFile)) {
    const pair = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
    await writePrivate(publicFile, await exportSPKI(pair.publicKey));
    await writePrivate(privateFile, await exportPKCS8(pair.privateKey));
  }
  const secretFile = path.join(dir, 'signing.secret');
  if (!existsSync(secretFile)) await writePrivate(secretFile, randomBytes(32).toString('base64'));
  const key = await importPKCS8(await readFile(privateFile, 'utf8'), 'EdDSA');
  return {
    databaseKeyFile: publicFile,
    // Without the claim `a`, sqld grants everything to anybody who holds a token: say it.
    databaseToken: await new SignJWT({ a: 'rw' }).setProtectedHeader({ alg: 'EdDSA' }).setIssuedAt().sign(key),
    signingSecret: (await readFile(secretFile, 'utf8')).trim(),
  };
}
