/**
 * Names of instances on their way to every host's DNS. Hosts cannot reach each other, so names travel through the control
 * plane: all of them after the hello, then those that changed.
 */
import { z } from 'zod';
import { InstanceRef } from './commands.ts';

/** More addresses of one instance than this are not told: DNS answers with a handful. */
export const NAME_ADDRESS_LIMIT = 16;

/** An instance with the addresses it has now, each with the bridge its NIC is on. None: the name is gone. */
export const InstanceNames = InstanceRef.extend({
  addresses: z.array(z.object({ network: z.string(), address: z.string().max(64) })),
});
export type InstanceNames = z.infer<typeof InstanceNames>;
