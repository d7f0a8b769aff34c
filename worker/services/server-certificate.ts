/** The certificate that clients see: its fingerprint is in every token. */
import type { Vars } from '#worker/env.ts';
import { fingerprintOf, pemToDer } from '#worker/lib/x509.ts';

/** SHA-256 of the leaf, lower-case hex; null when no certificate is configured (an edge that clients trust by its CA). */
export async function serverFingerprint(vars: Pick<Vars, 'serverCertificate'>): Promise<string | null> {
  if (vars.serverCertificate.trim() === '') return null;
  return fingerprintOf(pemToDer(vars.serverCertificate));
}
