/** What a member last sampled of its running instances, as it is passed between objects: RPC forgets what tuples are. */
import { z } from 'zod';
import { InstanceMetrics } from '#protocol/metrics.ts';

export const MemberMetrics = z.object({
  member: z.string(),
  toldMs: z.number(),
  /** Of its agent. */
  uptimeSeconds: z.number(),
  instances: z.array(InstanceMetrics),
});
export type MemberMetrics = z.infer<typeof MemberMetrics>;
