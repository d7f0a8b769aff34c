/**
 * Frame → journal → executor → result.
 *
 * Invariants. A command is journaled before it is acknowledged or begun, its outcome before it is sent. An id runs once; a
 * command that an earlier process left unfinished is run again from its first step (steps look first, then act). Results
 * are sent until they are acknowledged.
 */
import { type Command, type CommandName, type InstanceRef, parseCommand } from '#protocol/commands.ts';
import { AppError, cancelled, toWireError, type WireError } from '#protocol/errors.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import type { CommandContext } from './commands/host.ts';
import { claimsOf, mustWait, supersedes } from './commands/queue.ts';
import { createSlots } from './commands/slots.ts';
import { type FinishedCommand, instanceKey, type Journal, type Outcome } from './journal/journal.ts';
import type { Log } from './log.ts';
import { ExecError } from './system/exec.ts';

/** A result not acknowledged in this time is sent again on the same link. */
const RESEND_MS = 10_000;

export interface DispatcherDeps {
  journal: Journal;
  log: Log;
  /** Resolves with the command's result. */
  execute(command: Command, context: CommandContext): Promise<unknown>;
  /** False when there is no link. */
  send(frame: AgentFrame): boolean;
  /** Commands at work at once. */
  slots: number;
  /** After an outcome was journaled and before it is sent. */
  onFinished?(command: Command, outcome: Outcome): void;
}

type CommandFrame = { id: string; name: CommandName; params: unknown; operationId?: string | undefined };

interface Run {
  command: Command;
  /** For the log; what an earlier process left does not say. */
  operationId: string | undefined;
  abort: AbortController;
  done: Promise<void>;
  resumed: boolean;
  /** The agent's own work instead of an executor. */
  local: ((context: CommandContext) => Promise<void>) | null;
}

export interface Dispatcher {
  /** Takes a command frame. One whose params cannot be read fails at once: it would never end otherwise. */
  take(frame: CommandFrame): void;
  cancel(id: string): void;
  acknowledge(id: string): void;
  /** Runs what an earlier process left unfinished, then whatever comes. Until then commands are only accepted. */
  start(): void;
  /**
   * Runs the agent's own work in turn with the commands, as if it were `command`; nothing is journaled or sent. Resolves
   * when it is over, however it ended.
   */
  runLocal(command: Command, work: (context: CommandContext) => Promise<void>): Promise<void>;
  /** Sends every unacknowledged result: after each welcome. */
  resend(): void;
  /** True while a command works on this instance (programs that run in it do not count). */
  isBusy(ref: InstanceRef): boolean;
  /** Begins nothing more. Unfinished commands are taken up by the next process. */
  stop(): void;
}

export function createDispatcher(deps: DispatcherDeps): Dispatcher {
  const { journal, log } = deps;
  const runs = new Map<string, Run>();
  const slots = createSlots(deps.slots);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let isOpen = false;
  let stopped = false;
  const sentMs = new Map<string, number>();

  const sendResult = (finished: FinishedCommand) => {
    if (deps.send({ type: 'result', ...finished })) sentMs.set(finished.id, Date.now());
  };

  const finish = (command: Command, outcome: Outcome) => {
    journal.finish(command.id, outcome);
    deps.onFinished?.(command, outcome);
    sendResult({ id: command.id, name: command.name, outcome });
  };

  const contextOf = (run: Run): CommandContext => ({
    id: run.command.id,
    resumed: run.resumed,
    signal: run.abort.signal,
    progress: (metadata) => void deps.send({ type: 'progress', id: run.command.id, metadata }),
    marks: {
      has: (mark) => journal.listMarks(run.command.id).includes(mark),
      add: (mark) => journal.addMark(run.command.id, mark),
    },
    unslotted: async (work) => {
      slots.release();
      try {
        return await work();
      } finally {
        await slots.acquire();
      }
    },
  });

  const perform = async (run: Run, earlier: readonly Run[]): Promise<void> => {
    // A command that is cancelled while it waits has nothing to wait for.
    await Promise.race([Promise.all([opened, ...earlier.map((other) => other.done)]), aborted(run.abort.signal)]);
    await slots.acquire();
    const { command } = run;
    const fields = fieldsOf(run);
    try {
      if (stopped) return;
      if (run.local !== null) return await run.local(contextOf(run));
      log.info('command.started', { ...fields, resumed: run.resumed });
      const outcome = await outcomeOf(run);
      if (stopped) return;
      finish(command, outcome);
      if (outcome.ok) log.info('command.finished', fields);
      else log.warn('command.failed', { ...fields, code: outcome.error.code, message: outcome.error.message });
    } catch (err) {
      log.error('command.lost', { ...fields, err });
    } finally {
      slots.release();
      runs.delete(command.id);
    }
  };

  const outcomeOf = async (run: Run): Promise<Outcome> => {
    try {
      run.abort.signal.throwIfAborted();
      return { ok: true, result: await deps.execute(run.command, contextOf(run)) };
    } catch (error) {
      return { ok: false, error: explain(log, run, error) };
    }
  };

  const begin = (command: Command, { resumed = false, local = null, operationId }: Partial<Run> = {}) => {
    const earlier = [...runs.values()].filter((other) => mustWait(other.command, command));
    for (const other of earlier) {
      if (supersedes(command, other.command)) other.abort.abort(cancelled('Superseded by a forced request'));
    }
    const abort = new AbortController();
    const run: Run = { command, operationId, abort, done: Promise.resolve(), resumed, local };
    runs.set(command.id, run);
    run.done = perform(run, earlier);
    return run.done;
  };

  const resendTimer = setInterval(() => {
    const due = Date.now() - RESEND_MS;
    for (const finished of sentMs.size === 0 ? [] : journal.listUnacknowledged()) {
      if ((sentMs.get(finished.id) ?? Number.POSITIVE_INFINITY) <= due) sendResult(finished);
    }
  }, RESEND_MS);
  resendTimer.unref();

  return {
    take: (frame) => {
      const command = readCommand(frame);
      if (command === null) {
        const error = { code: 'bad_request' as const, message: `Cannot read the params of ${frame.name}` };
        deps.send({ type: 'result', id: frame.id, name: frame.name, outcome: { ok: false, error } });
        return;
      }
      const known = journal.accept(command);
      deps.send({ type: 'ack', id: command.id });
      if (known.state === 'finished') sendResult(known.finished);
      else if (known.state === 'new' && !stopped) void begin(command, { operationId: frame.operationId });
    },
    cancel: (id) => runs.get(id)?.abort.abort(cancelled()),
    acknowledge: (id) => {
      sentMs.delete(id);
      journal.acknowledge(id);
    },
    start: () => {
      for (const command of journal.listUnfinished()) if (!runs.has(command.id)) void begin(command, { resumed: true });
      isOpen = true;
      open();
    },
    runLocal: (command, work) => begin(command, { local: work }),
    resend: () => {
      for (const finished of journal.listUnacknowledged()) sendResult(finished);
    },
    isBusy: (ref) => {
      const key = `instance:${instanceKey(ref)}`;
      // What an earlier process began is at work as well.
      const unbegun = isOpen ? [] : journal.listUnfinished();
      return [...[...runs.values()].map((run) => run.command), ...unbegun].some((command) =>
        claimsOf(command).some((claim) => claim.key === key && claim.mode === 'exclusive'),
      );
    },
    stop: () => {
      stopped = true;
      clearInterval(resendTimer);
    },
  };
}

const fieldsOf = ({ command, operationId }: Run) => ({ commandId: command.id, command: command.name, operationId });

function readCommand(frame: CommandFrame): Command | null {
  try {
    return parseCommand({ id: frame.id, name: frame.name, params: frame.params });
  } catch {
    return null;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** What the control plane may be told. Programs' own last words are meant for people; anything unexpected is not. */
function explain(log: Log, run: Run, error: unknown): WireError {
  const { signal } = run.abort;
  if (signal.aborted && !(error instanceof AppError)) return toWireError(signal.reason);
  if (error instanceof AppError) return toWireError(error);
  if (error instanceof ExecError) return { code: 'failed', message: error.message.slice(0, 8192) };
  log.error('command.crashed', { ...fieldsOf(run), err: error });
  return toWireError(error);
}
