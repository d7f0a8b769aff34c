/** The trust store: who may talk to this cluster (lxd-api 8.1). */
import type { CertificatePatch, CertificatePut, CertificatesPost } from '#protocol/api/certificate.ts';
import { badRequest, conflict, forbidden, notFound } from '#protocol/errors.ts';
import { isFingerprint } from '#protocol/names.ts';
import { certificateDates, certificateName, derToPem, fingerprintOf, pemToDer } from '#worker/lib/x509.ts';
import {
  type CertificateRow,
  deleteCertificate,
  findCertificate,
  findCertificatesByPrefix,
  insertCertificate,
  listCertificates,
  updateCertificate,
} from '#worker/state/certificates.ts';
import { isUniqueViolation } from '#worker/state/db.ts';
import { listProjects } from '#worker/state/projects.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';

export const certificateUrl = (fingerprint: string) => `/1.0/certificates/${fingerprint}`;

export const certificateToApi = (row: CertificateRow) => ({
  name: row.name,
  type: row.type,
  restricted: row.restricted,
  projects: row.projects,
  certificate: row.certificate,
  fingerprint: row.fingerprint,
});

/** What an ETag of a certificate covers. */
export const certificateEtagParts = (row: CertificateRow) => [row.name, row.type, row.restricted, row.projects];

/** All; a restricted caller sees its own only. */
export async function listTrusted(ctx: Authorized): Promise<CertificateRow[]> {
  const rows = await listCertificates(ctx.db);
  return ctx.principal.projects === null ? rows : rows.filter((row) => row.fingerprint === ctx.principal.username);
}

/** By fingerprint or a unique prefix of it. Throws 404, also for what a restricted caller may not see. */
export async function getTrusted(ctx: Authorized, prefix: string): Promise<CertificateRow> {
  const wanted = prefix.toLowerCase();
  if (!/^[0-9a-f]{1,64}$/.test(wanted)) throw notFound('Certificate');
  const rows = await findCertificatesByPrefix(ctx.db, wanted);
  const [row] = rows;
  if (row === undefined) throw notFound('Certificate');
  if (rows.length > 1) throw badRequest('More than one certificate matches');
  if (ctx.principal.projects !== null && row.fingerprint !== ctx.principal.username) throw notFound('Certificate');
  return row;
}

/** Adds the certificate in the request of a trusted caller. Throws 400 for garbage, 409 when it is trusted already. */
export async function trustCertificate(ctx: Authorized, request: CertificatesPost): Promise<string> {
  if (request.certificate === '') throw badRequest('Client is already trusted');
  const der = readCertificate(request.certificate);
  return addToTrust(ctx, der, {
    name: request.name,
    type: checkType(request.type === '' ? 'client' : request.type),
    restricted: request.restricted,
    projects: await checkProjects(ctx, request.projects),
  });
}

/** Stores it. The name falls back to the certificate's common name, then to the caller's address. */
export async function addToTrust(
  ctx: Authorized,
  der: Uint8Array,
  grant: Pick<CertificateRow, 'name' | 'type' | 'restricted' | 'projects'>,
): Promise<string> {
  const fingerprint = await fingerprintOf(der);
  if (!isFingerprint(fingerprint) || (await findCertificate(ctx.db, fingerprint)) !== undefined) throw alreadyTrusted();
  const row: CertificateRow = {
    fingerprint,
    ...grant,
    name: grant.name || certificateName(der) || ctx.principal.address,
    certificate: derToPem(der),
    createdAt: ctx.now(),
  };
  const events = [lifecycle(ctx, 'certificate-created', certificateUrl(fingerprint))];
  try {
    await makeChange(ctx, { writes: [insertCertificate(ctx.db, row)], events });
  } catch (error) {
    throw isUniqueViolation(error) ? alreadyTrusted() : error;
  }
  return fingerprint;
}

export const alreadyTrusted = () => conflict('Certificate already in trust store');

/** Changes name, type, restriction, projects; the certificate itself only by adding another one. */
export async function changeTrusted(
  ctx: Authorized,
  row: CertificateRow,
  wanted: CertificatePut | CertificatePatch,
): Promise<void> {
  if (ctx.principal.projects !== null) throw forbidden();
  if (wanted.certificate && (await fingerprintOf(readCertificate(wanted.certificate))) !== row.fingerprint) {
    throw badRequest('The certificate of an entry cannot be changed: add the new one and remove this');
  }
  const values = {
    name: wanted.name ?? row.name,
    type: wanted.type === undefined ? row.type : checkType(wanted.type || row.type),
    restricted: wanted.restricted ?? row.restricted,
    projects: wanted.projects === undefined ? row.projects : await checkProjects(ctx, wanted.projects),
  };
  await makeChange(ctx, {
    writes: [updateCertificate(ctx.db, row.fingerprint, values)],
    events: [lifecycle(ctx, 'certificate-updated', certificateUrl(row.fingerprint))],
  });
}

export async function distrust(ctx: Authorized, row: CertificateRow): Promise<void> {
  await makeChange(ctx, {
    writes: [deleteCertificate(ctx.db, row.fingerprint)],
    events: [lifecycle(ctx, 'certificate-deleted', certificateUrl(row.fingerprint))],
  });
}

/** DER out of base64 DER or PEM. Throws 400 `Invalid certificate material: …`. */
export function readCertificate(material: string): Uint8Array {
  try {
    const der = pemToDer(material);
    certificateDates(der);
    return der;
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'not a certificate';
    throw badRequest(`Invalid certificate material: ${reason}`, error);
  }
}

function checkType(type: string): CertificateRow['type'] {
  if (type === 'client' || type === 'metrics') return type;
  throw badRequest(`Unknown request type ${type}`);
}

/** The names, each once. Throws 404 for a project that does not exist. */
export async function checkProjects(ctx: Authorized, names: string[]): Promise<string[]> {
  if (names.length === 0) return [];
  const known = new Set((await listProjects(ctx.db)).map(({ name }) => name));
  for (const name of names) if (!known.has(name)) throw notFound('Project');
  return [...new Set(names)];
}
