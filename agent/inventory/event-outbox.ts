/**
 * Events of this host's instances that no result and no report tells: kept in the journal until the control plane has them.
 *
 * Invariants. An event has the time at which it happened. What is kept is sent in order, at once with a link and before the
 * inventory at the next one, until it is acknowledged.
 */
import type { AgentFrame } from '#protocol/frames.ts';
import { HOST_EVENTS_PER_FRAME, type HostEvent } from '#protocol/host-events.ts';
import type { InstanceTransition } from '../drivers/instance/driver.ts';
import type { EventLog } from '../journal/journal.ts';

/** Programs with long command lines are told without them. */
const CONTEXT_LIMIT = 4_096;

export interface EventOutbox {
  keep(event: Omit<HostEvent, 'seq' | 'at'>): void;
  /** Sends everything kept: after each welcome. */
  resend(): void;
  acknowledge(seq: number): void;
}

/** What is told of a change that no command and nobody at the local socket asked for. Pure. */
export function unaskedEvent({ ref, kind }: InstanceTransition): Parameters<EventOutbox['keep']>[0] {
  const { project, name } = ref;
  if (kind === 'stopped') return { action: 'instance-shutdown', project, name, status: 'Stopped' };
  return { action: kind === 'started' ? 'instance-started' : 'instance-restarted', project, name, status: 'Running' };
}

export function createEventOutbox(deps: {
  events: EventLog;
  /** False when there is no link. */
  send(frame: AgentFrame): boolean;
}): EventOutbox {
  let sentSeq = 0;
  let lastMs = 0;
  const flush = () => {
    for (;;) {
      const events = deps.events.list(sentSeq, HOST_EVENTS_PER_FRAME);
      const last = events.at(-1);
      if (last === undefined || !deps.send({ type: 'events', events })) return;
      sentSeq = last.seq;
    }
  };
  return {
    keep: ({ context, ...event }) => {
      // Two events never share a time: it is how one that comes twice is known.
      lastMs = Math.max(Date.now(), lastMs + 1);
      const told = context === undefined || JSON.stringify(context).length > CONTEXT_LIMIT ? {} : { context };
      deps.events.add({ ...event, ...told, at: new Date(lastMs).toISOString() });
      flush();
    },
    resend: () => {
      sentSeq = 0;
      flush();
    },
    acknowledge: (seq) => deps.events.drop(seq),
  };
}
