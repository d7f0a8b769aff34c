import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CANCELLED,
  CANCELLING,
  FAILURE,
  isFinal,
  next,
  OPERATION_STATUSES,
  type OperationEvent,
  outcomeOf,
  PENDING,
  RUNNING,
  SUCCESS,
  statusName,
} from '#worker/domain/operation.ts';

const EVENTS: OperationEvent[] = ['start', 'cancel', 'succeeded', 'failed', 'cancelled'];
const anyEvents = fc.array(fc.constantFrom(...EVENTS), { maxLength: 20 });

describe('an operation', () => {
  it.each([
    [PENDING, 'start', RUNNING],
    [PENDING, 'cancel', CANCELLED],
    [RUNNING, 'start', RUNNING],
    [RUNNING, 'cancel', CANCELLING],
    [RUNNING, 'succeeded', SUCCESS],
    [RUNNING, 'failed', FAILURE],
    [CANCELLING, 'cancel', CANCELLING],
    [CANCELLING, 'cancelled', CANCELLED],
    [CANCELLING, 'succeeded', SUCCESS],
    [SUCCESS, 'failed', SUCCESS],
  ] as const)('that is %i and gets %s is %i', (from, event, to) => {
    expect(next(from, event)).toBe(to);
  });

  it('stays in its final status whatever comes later', () => {
    fc.assert(
      fc.property(fc.constantFrom(...OPERATION_STATUSES), anyEvents, anyEvents, (start, before, after) => {
        const reached = before.reduce(next, start);
        fc.pre(isFinal(reached));
        expect(after.reduce(next, reached)).toBe(reached);
      }),
    );
  });

  it('is not moved by an event that comes twice', () => {
    fc.assert(
      fc.property(fc.constantFrom(...OPERATION_STATUSES), fc.constantFrom(...EVENTS), (status, event) => {
        fc.pre(status !== PENDING);
        expect(next(next(status, event), event)).toBe(next(status, event));
      }),
    );
  });

  it('ends once nothing waits, whatever the order of its commands', () => {
    const statuses = fc.array(fc.constantFrom('waiting', 'done', 'failed', 'cancelled' as const), { maxLength: 6 });
    fc.assert(
      fc.property(statuses, (commands) => {
        expect(outcomeOf(commands)).toBe(outcomeOf(commands.toReversed()));
        expect(outcomeOf(commands) === null).toBe(commands.includes('waiting'));
      }),
    );
  });

  it('is named as LXD names it', () => {
    expect([105, 103, 104, 200, 400, 401].map(statusName)).toEqual([
      'Pending',
      'Running',
      'Cancelling',
      'Success',
      'Failure',
      'Cancelled',
    ]);
  });
});
