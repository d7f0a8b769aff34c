/** The batch that turns a certificate token into a trusted certificate. */

import { sql } from 'drizzle-orm';
import { SUCCESS } from '#worker/domain/operation.ts';
import type { CertificateRow } from './certificates.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';
import { takeToken, tokenTakenBy } from './tokens.ts';

/**
 * Adds the certificate and ends the token's operation, if the token is still good. `admitted` is false, and nothing is
 * written, when it was taken, cancelled or expired before. Throws `conflict` when the certificate is there already.
 */
export async function trustByToken(
  db: Db,
  { operationId, row, event, now }: { operationId: string; row: CertificateRow; event: LifecycleDraft; now: string },
): Promise<Followup & { admitted: boolean }> {
  const guard = tokenTakenBy(operationId, row.fingerprint, now);
  const followup = await runPlan(db, { now, guard }, (plan) => {
    plan.write(takeToken(operationId, row.fingerprint, now));
    plan.write(sql`insert into certificates (fingerprint, type, name, restricted, projects, certificate, created_at)
      select ${row.fingerprint}, ${row.type}, ${row.name}, ${row.restricted ? 1 : 0}, ${JSON.stringify(row.projects)},
        ${row.certificate}, ${row.createdAt} where ${guard}`);
    plan.event(event);
    plan.write(
      sql`update operations set status = ${SUCCESS}, updated_at = ${now} where id = ${operationId} and ${guard}`,
    );
    plan.report(operationId);
  });
  return { ...followup, admitted: followup.events.length > 0 };
}
