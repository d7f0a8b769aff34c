/** A program inside an instance, played by the test. */
import type { ExecProcess } from '#agent/drivers/instance/driver.ts';

export interface FakeProcess extends ExecProcess {
  /** Writes output; false while the reader has paused it. */
  output(channel: 'stdout' | 'stderr', text: string | Uint8Array): void;
  exit(code: number): void;
  input: Uint8Array[];
  inputEnded: boolean;
  signals: number[];
  sizes: string[];
  paused: boolean;
  /** Makes `write` ask for patience until `drain`. */
  full: boolean;
  drain(): void;
}

export function createFakeProcess(): FakeProcess {
  let exit: (code: number) => void = () => {};
  let drained: () => void = () => {};
  let listener: Parameters<ExecProcess['onOutput']>[0] = () => {};
  const waiting: (() => void)[] = [];
  const process: FakeProcess = {
    input: [],
    inputEnded: false,
    signals: [],
    sizes: [],
    paused: false,
    full: false,
    write: (bytes) => {
      process.input.push(bytes);
      return !process.full;
    },
    drained: () =>
      new Promise((resolve) => {
        drained = resolve;
      }),
    drain: () => {
      process.full = false;
      drained();
    },
    endInput: () => {
      process.inputEnded = true;
    },
    resize: (width, height) => void process.sizes.push(`${width}x${height}`),
    signal: (signal) => {
      process.signals.push(signal);
      if (signal === 9) exit(137);
    },
    onOutput: (next) => {
      listener = next;
    },
    pauseOutput: () => {
      process.paused = true;
    },
    resumeOutput: () => {
      process.paused = false;
      while (!process.paused && waiting.length > 0) waiting.shift()?.();
    },
    output: (channel, text) => {
      const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
      const emit = () => listener(channel, bytes);
      if (process.paused) waiting.push(emit);
      else emit();
    },
    exit: (code) => exit(code),
    exited: new Promise((resolve) => {
      exit = (code) => {
        const whenRead = () => (waiting.length === 0 ? resolve(code) : setTimeout(whenRead, 1));
        if (code === 137) resolve(code);
        else whenRead();
      };
    }),
  };
  return process;
}
