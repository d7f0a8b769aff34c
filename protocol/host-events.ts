/**
 * What happened to a member's instances while it could not tell: kept on the host, delivered when the link is back, with the
 * times of then.
 */
import { z } from 'zod';
import { InstanceStatus } from './inventory.ts';

export const HOST_EVENT_ACTIONS = [
  'instance-started',
  'instance-stopped',
  'instance-shutdown',
  'instance-restarted',
  'instance-paused',
  'instance-resumed',
  'instance-exec',
] as const;

/** Older ones go when more are kept. */
export const KEPT_HOST_EVENTS = 1_000;
/** In one frame. */
export const HOST_EVENTS_PER_FRAME = 100;

export const HostEvent = z.object({
  /** Grows with every event of the host. */
  seq: z.number().int().positive(),
  at: z.iso.datetime(),
  action: z.enum(HOST_EVENT_ACTIONS),
  project: z.string().max(64),
  name: z.string().max(64),
  /** What the instance was after it; null: as before. */
  status: InstanceStatus.nullable(),
  context: z.record(z.string(), z.unknown()).optional(),
});
export type HostEvent = z.infer<typeof HostEvent>;
export type HostEventAction = HostEvent['action'];
