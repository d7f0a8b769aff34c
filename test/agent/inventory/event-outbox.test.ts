import { expect, it } from 'vitest';
import { createEventOutbox, unaskedEvent } from '#agent/inventory/event-outbox.ts';
import { createMemoryJournal } from '#agent/journal/memory.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import { HOST_EVENTS_PER_FRAME, KEPT_HOST_EVENTS } from '#protocol/host-events.ts';

const started = { action: 'instance-started', project: 'default', name: 'c1', status: 'Running' } as const;

function world() {
  const state = { up: false, sent: [] as Extract<AgentFrame, { type: 'events' }>[] };
  const { events } = createMemoryJournal();
  const send = (frame: AgentFrame) => {
    if (state.up && frame.type === 'events') state.sent.push(frame);
    return state.up;
  };
  return { ...state, state, events, outbox: createEventOutbox({ events, send }) };
}

it('keeps events until there is a link, in order and with the times of then', () => {
  const { state, outbox } = world();
  const before = Date.now();
  outbox.keep(started);
  outbox.keep({ ...started, action: 'instance-stopped', status: 'Stopped' });
  expect(state.sent).toEqual([]);
  state.up = true;
  outbox.resend();
  const [frame] = state.sent;
  expect(frame?.events.map(({ action }) => action)).toEqual(['instance-started', 'instance-stopped']);
  const times = frame?.events.map(({ at }) => Date.parse(at)) ?? [];
  expect(times[0]).toBeGreaterThanOrEqual(before);
  expect(times[1]).toBeGreaterThan(times[0] ?? 0);
});

it('sends an event once per link, and again at the next link until it is acknowledged', () => {
  const { state, outbox, events } = world();
  state.up = true;
  outbox.keep(started);
  outbox.keep(started);
  expect(state.sent.map((frame) => frame.events.length)).toEqual([1, 1]);
  outbox.resend();
  expect(state.sent.at(-1)?.events).toHaveLength(2);
  outbox.acknowledge(state.sent.at(-1)?.events.at(-1)?.seq ?? 0);
  expect(events.list(0, 10)).toEqual([]);
  outbox.resend();
  expect(state.sent).toHaveLength(3);
});

it('forgets the oldest of too many, and sends many in several frames', () => {
  const { state, outbox } = world();
  for (let count = 0; count < KEPT_HOST_EVENTS + 5; count++) outbox.keep(started);
  state.up = true;
  outbox.resend();
  expect(state.sent).toHaveLength(KEPT_HOST_EVENTS / HOST_EVENTS_PER_FRAME);
  expect(state.sent.at(0)?.events.at(0)?.seq).toBe(6);
});

it('leaves out a context that is too large to be told', () => {
  const { state, outbox } = world();
  state.up = true;
  outbox.keep({ ...started, action: 'instance-exec', context: { command: ['x'.repeat(10_000)] } });
  outbox.keep({ ...started, action: 'instance-exec', context: { command: ['ls'] } });
  expect(state.sent.map((frame) => frame.events[0]?.context)).toEqual([undefined, { command: ['ls'] }]);
});

it('tells a stop, a start and a reboot apart', () => {
  const ref = { project: 'default', name: 'c1' };
  expect(unaskedEvent({ ref, kind: 'stopped' })).toMatchObject({ action: 'instance-shutdown', status: 'Stopped' });
  expect(unaskedEvent({ ref, kind: 'started' })).toMatchObject({ action: 'instance-started', status: 'Running' });
  expect(unaskedEvent({ ref, kind: 'rebooted' })).toMatchObject({ action: 'instance-restarted', status: 'Running' });
});
