/** Ordered steps with undo: how a command leaves either its whole effect on the host or none. */
import type { Log } from '../log.ts';

/**
 * One step. `run` looks first and then acts: running twice equals running once. `undo` works even if `run` never happened or
 * stopped half-way.
 */
export interface Step {
  name: string;
  run(): Promise<void>;
  undo?(): Promise<void>;
}

/**
 * Runs the steps in order. When one fails, or `signal` is aborted before one, the failed step and those before it are
 * undone backwards and the first error is thrown; an undo that fails is logged and hides nothing.
 */
export async function runSteps(deps: { log: Log; signal: AbortSignal }, steps: readonly Step[]): Promise<void> {
  const begun: Step[] = [];
  try {
    for (const step of steps) {
      deps.signal.throwIfAborted();
      begun.push(step);
      await step.run();
    }
    deps.signal.throwIfAborted();
  } catch (error) {
    await undoSteps(deps.log, begun);
    throw error;
  }
}

async function undoSteps(log: Log, begun: readonly Step[]): Promise<void> {
  for (const step of begun.toReversed()) {
    try {
      await step.undo?.();
    } catch (err) {
      log.error('command.undo.failed', { step: step.name, err });
    }
  }
}
