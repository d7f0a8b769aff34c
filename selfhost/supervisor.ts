/** Keeps a program running: starts it again when it ends, with growing pauses, until it is told to stop. */
import type { ChildProcess } from 'node:child_process';
import { stopDaemon } from './run.ts';

export interface Service {
  name: string;
  start(): ChildProcess;
  /** Resolves when it serves; throws when it will not. */
  ready(child: ChildProcess): Promise<void>;
  /** How long SIGTERM may take before SIGKILL. */
  graceMs: number;
  /** Rejects while it runs and does not do its work. Asked now and then; must end by itself. */
  probe?(): Promise<void>;
}

export interface Supervised {
  /** Pid of the present process; undefined between two. */
  pid(): number | undefined;
  stop(): Promise<void>;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** How often a running service is asked whether it works, and how many refusals in a row are one too many. */
const PROBE_EVERY_MS = 2_000;
const PROBE_FAILURES = 2;
/** One that ran this long was well: the next pause is short again. */
const WELL_AFTER_MS = 30_000;

/** Resolves when the service serves for the first time; throws, with nothing left running, when that first start fails. */
export async function supervise(service: Service, log: (line: string) => void): Promise<Supervised> {
  const start = () => {
    const fresh = service.start();
    fresh.on('error', (error) => log(`${service.name}: ${error.message}`));
    return fresh;
  };
  let child = start();
  let stopping = false;
  let timer: NodeJS.Timeout | undefined;
  let pauseMs = FIRST_PAUSE_MS;

  const watch = (startedAt: number) => {
    child.once('exit', (code, signal) => {
      if (stopping) return;
      if (performance.now() - startedAt > WELL_AFTER_MS) pauseMs = FIRST_PAUSE_MS;
      log(`${service.name} ended (${signal ?? `code ${code}`}); starting it again in ${pauseMs} ms`);
      timer = setTimeout(() => {
        child = start();
        watch(performance.now());
      }, pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    });
  };

  try {
    await service.ready(child);
  } catch (error) {
    await stopDaemon(child, service.graceMs);
    throw error;
  }
  watch(performance.now());
  const looking = service.probe === undefined ? null : lookAfter(service.name, service.probe, () => child, log);
  return {
    pid: () => (child.exitCode === null && child.signalCode === null ? child.pid : undefined),
    stop: async () => {
      stopping = true;
      clearTimeout(timer);
      looking?.stop();
      await stopDaemon(child, service.graceMs);
    },
  };
}

/** Kills what runs without working: its end is noticed like any other. */
function lookAfter(
  name: string,
  probe: () => Promise<void>,
  current: () => ChildProcess,
  log: (line: string) => void,
): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let failures = 0;
  let stopped = false;
  const look = async () => {
    const child = current();
    const works = await probe().then(
      () => true,
      () => false,
    );
    if (stopped) return;
    failures = works || child !== current() ? 0 : failures + 1;
    if (failures >= PROBE_FAILURES) {
      failures = 0;
      log(`${name} runs and does not work: ending it`);
      child.kill('SIGKILL');
    }
    timer = setTimeout(look, PROBE_EVERY_MS);
  };
  timer = setTimeout(look, PROBE_EVERY_MS);
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
