/** How an untrusted TLS client gets trusted: by a certificate token or the trust password (lxd-api 8.1, 8.2). */
import { z } from 'zod';
import type { CertificatesPost } from '#protocol/api/certificate.ts';
import { AppError, badRequest, conflict, forbidden } from '#protocol/errors.ts';
import { checkMemberName } from '#protocol/names.ts';
import { TRUST_PASSWORD } from '#worker/domain/server-config.ts';
import { sha256Hex, verifyPassword } from '#worker/lib/crypto.ts';
import { certificateName, derToPem, fingerprintOf } from '#worker/lib/x509.ts';
import { findCertificate } from '#worker/state/certificates.ts';
import { findServerConfig } from '#worker/state/config.ts';
import { findMember } from '#worker/state/members.ts';
import { findToken } from '#worker/state/tokens.ts';
import { trustByToken } from '#worker/state/trust.ts';
import { addToTrust, alreadyTrusted, certificateUrl, distrust, readCertificate } from './certificates.ts';
import { lifecycle, spread } from './changes.ts';
import type { Authorized } from './context.ts';
import { limitAttempts } from './trust-attempts.ts';

/** What clients make of a token operation: base64 of this JSON. Join tokens have `server_name` instead. */
const ClientToken = z.object({
  client_name: z.string().optional(),
  server_name: z.string().optional(),
  secret: z.string(),
  fingerprint: z.string(),
});

/**
 * Adds the TLS peer's own certificate. Throws 403 for a wrong password or token, 400 when the peer showed no certificate
 * or the edge does not pass it on, 409 when it is trusted already.
 */
export async function trustPeer(
  ctx: Authorized,
  request: CertificatesPost,
  peer: { certificate: Uint8Array | null } | null,
): Promise<string> {
  const proof = request.trust_token || request.password;
  if (proof === '') throw forbidden();
  // A joining `lxd init` does not show its certificate at this call: it sends it, and shows it from then on.
  const sent = request.type === 'server' && request.certificate !== '' ? readCertificate(request.certificate) : null;
  if (peer?.certificate == null && sent === null) throw badRequest('No client certificate provided');
  const der = sent ?? readCertificate(derToPem(peer?.certificate ?? new Uint8Array()));
  return limitAttempts(ctx, ctx.principal.address, async () => {
    const token = parseToken(proof);
    if (token?.client_name !== undefined) return trustWithToken(ctx, der, token.secret);
    if (token?.server_name !== undefined) return trustJoiningServer(ctx, der, await joinerOf(ctx, token.secret));
    const stored = await findServerConfig(ctx.db, TRUST_PASSWORD);
    if (stored === undefined || !(await verifyPassword(proof, stored))) throw forbidden();
    if (request.type === 'server') return trustJoiningServer(ctx, der, request.name);
    if (request.type !== '' && request.type !== 'client') throw badRequest(`Unknown request type ${request.type}`);
    return addToTrust(ctx, der, { name: request.name, type: 'client', restricted: false, projects: [] });
  });
}

/** Name, type, restriction and projects are the token's, whatever the request says. */
async function trustWithToken(ctx: Authorized, der: Uint8Array, secret: string): Promise<string> {
  const unknown = () => forbidden('No matching certificate add operation found');
  const token = await findToken(ctx.db, 'certificate', await sha256Hex(secret));
  if (token?.grant == null) throw unknown();
  const fingerprint = await fingerprintOf(der);
  const row = {
    fingerprint,
    ...token.grant,
    name: token.name || certificateName(der) || ctx.principal.address,
    certificate: derToPem(der),
    createdAt: ctx.now(),
  };
  const event = lifecycle(ctx, 'certificate-created', certificateUrl(fingerprint));
  const { operationId } = token;
  try {
    const { admitted, ...followup } = await trustByToken(ctx.db, { operationId, row, event, now: ctx.now() });
    if (!admitted) throw unknown();
    await spread(ctx, followup);
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? alreadyTrusted() : error;
  }
  return fingerprint;
}

/**
 * What `lxd init` does ahead of a join: its certificate may then look at the cluster, and be turned into a join token for
 * this one name (`join-token.ts`). It is no administrator, and goes when the member is there.
 */
async function trustJoiningServer(ctx: Authorized, der: Uint8Array, name: string): Promise<string> {
  const refusal = checkMemberName(name);
  if (refusal !== null) throw badRequest(refusal);
  if ((await findMember(ctx.db, name)) !== undefined) {
    throw conflict(`The cluster already has a member with name: ${name}`);
  }
  const earlier = await findCertificate(ctx.db, await fingerprintOf(der));
  // A host that tries again, perhaps by another name.
  if (earlier?.type === 'server') await distrust(ctx, earlier);
  return addToTrust(ctx, der, { name, type: 'server', restricted: true, projects: [] });
}

/** Whom a join token that is still good is for; it stays good, the join itself uses it up. */
async function joinerOf(ctx: Authorized, secret: string): Promise<string> {
  const token = await findToken(ctx.db, 'join', await sha256Hex(secret));
  const expired = token?.expiresAt != null && token.expiresAt <= ctx.now();
  if (token === undefined || !token.running || token.usedAt !== null || expired) {
    throw forbidden('No matching cluster join operation found');
  }
  return token.name;
}

/** Null for what is no token: then it is a password. */
function parseToken(text: string): z.infer<typeof ClientToken> | null {
  try {
    return ClientToken.safeParse(JSON.parse(atob(text.trim()))).data ?? null;
  } catch {
    return null;
  }
}
