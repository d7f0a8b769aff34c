/** LXD's status codes and how an operation moves between them (lxd-api 3.1). Pure. */

/** Every code with its name, as operations, instances and answers show them. */
export const STATUS_NAMES = {
  100: 'Operation created',
  101: 'Started',
  102: 'Stopped',
  103: 'Running',
  104: 'Cancelling',
  105: 'Pending',
  106: 'Starting',
  107: 'Stopping',
  108: 'Aborting',
  109: 'Freezing',
  110: 'Frozen',
  111: 'Thawed',
  112: 'Error',
  113: 'Ready',
  200: 'Success',
  400: 'Failure',
  401: 'Cancelled',
} as const;

export type StatusCode = keyof typeof STATUS_NAMES;

export const PENDING = 105;
export const RUNNING = 103;
export const CANCELLING = 104;
export const SUCCESS = 200;
export const FAILURE = 400;
export const CANCELLED = 401;

/** The codes an operation can have. */
export const OPERATION_STATUSES = [PENDING, RUNNING, CANCELLING, SUCCESS, FAILURE, CANCELLED] as const;
export type OperationStatus = (typeof OPERATION_STATUSES)[number];
export type FinalStatus = typeof SUCCESS | typeof FAILURE | typeof CANCELLED;

/** Below this an operation still moves: LXD's rule, which clients use too. */
export const FINAL_FROM = 200;

/** True for a status that an operation never leaves. */
export const isFinal = (status: number): boolean => status >= FINAL_FROM;

const isStatusCode = (code: number): code is StatusCode => code in STATUS_NAMES;

/** The name clients print; `Unknown` for a code that LXD does not have. */
export const statusName = (code: number): string => (isStatusCode(code) ? STATUS_NAMES[code] : 'Unknown');

export type OperationEvent = 'start' | 'cancel' | 'succeeded' | 'failed' | 'cancelled';

const ENDS = { succeeded: SUCCESS, failed: FAILURE, cancelled: CANCELLED } as const;

/** What each event makes of each status that is not final. An event that is missing changes nothing. */
export const TRANSITIONS: Record<
  Exclude<OperationStatus, FinalStatus>,
  Partial<Record<OperationEvent, OperationStatus>>
> = {
  [PENDING]: { start: RUNNING, cancel: CANCELLED, ...ENDS },
  [RUNNING]: { cancel: CANCELLING, ...ENDS },
  [CANCELLING]: ENDS,
};

/** The status after `event`. Late, repeated and reordered events leave it as it is; final ones stay. */
export function next(status: OperationStatus, event: OperationEvent): OperationStatus {
  if (status === SUCCESS || status === FAILURE || status === CANCELLED) return status;
  return TRANSITIONS[status][event] ?? status;
}

/** How an operation stands when its commands stand so: running while one waits, then failed, cancelled or done. */
export function outcomeOf(commands: readonly ('waiting' | 'done' | 'failed' | 'cancelled')[]): OperationEvent | null {
  if (commands.includes('waiting')) return null;
  if (commands.includes('failed')) return 'failed';
  return commands.includes('cancelled') ? 'cancelled' : 'succeeded';
}

/**
 * An operation as somebody who may only look sees it: without the secrets that open the streams of a running command. Those
 * are made for whoever started it, and would let others type there.
 */
export function withoutStreams<T extends { metadata: Record<string, unknown> | null }>(operation: T): T {
  if (operation.metadata?.fds === undefined) return operation;
  const { fds: _, ...metadata } = operation.metadata;
  return { ...operation, metadata };
}
