/** Validated JSON records: what comes out of a file is parsed like anything from outside. */
import { z } from 'zod';
import { InstanceSpec } from '#protocol/commands.ts';
import { WireError } from '#protocol/errors.ts';

export const InstanceRecordSchema = z.object({
  spec: InstanceSpec,
  pool: z.string(),
  power: z.enum(['RUNNING', 'STOPPED']),
});

export const OutcomeSchema = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), error: WireError }),
]);
