/** Bodies of the warning endpoints (lxd-api 5.1). */
import { z } from 'zod';

export const WarningPut = z.object({ status: z.string() }).meta({
  id: 'WarningPut',
  description: 'Acknowledge a warning, or make it new again',
  example: { status: 'acknowledged' },
});
export type WarningPut = z.infer<typeof WarningPut>;
