/** Joins a program inside an instance with its stream. */

import { CHANNEL_INPUT, CHANNEL_STDERR, CHANNEL_STDOUT } from '#protocol/stream.ts';
import type { ExecProcess } from '../drivers/instance/driver.ts';
import type { AgentStream } from './stream.ts';

const SIGKILL = 9;

/**
 * Pumps both ways until the program has ended and all its output and end marks are on their way; resolves with the exit
 * code. When the stream or the command is aborted the program is killed; its code is still the answer.
 */
export async function pumpExec(
  process: ExecProcess,
  stream: AgentStream,
  interactive: boolean,
  signal: AbortSignal,
): Promise<number> {
  const kill = () => process.signal(SIGKILL);
  const gone = AbortSignal.any([stream.signal, signal]);
  gone.addEventListener('abort', kill);
  if (gone.aborted) kill();
  stream.onControl((frame) => {
    if (frame.type === 'resize') process.resize(frame.width, frame.height);
    else process.signal(frame.signal);
  });
  const output = pumpOutput(process, stream, interactive);
  // Ends by itself with the stream; a program that has ended takes no input any more.
  void pumpInput(process, stream).catch(() => {});
  try {
    const exitCode = await process.exited;
    await output.flushed();
    for (const channel of interactive ? [CHANNEL_INPUT] : [CHANNEL_STDOUT, CHANNEL_STDERR]) {
      stream.tell({ type: 'end', channel });
    }
    return exitCode;
  } finally {
    gone.removeEventListener('abort', kill);
  }
}

/** The program is paused while a chunk waits for the client, so at most one read of it is held here. */
function pumpOutput(process: ExecProcess, stream: AgentStream, interactive: boolean): { flushed(): Promise<void> } {
  let unsent = 0;
  let last: Promise<void> = Promise.resolve();
  process.onOutput((from, bytes) => {
    const channel = interactive ? CHANNEL_INPUT : from === 'stderr' ? CHANNEL_STDERR : CHANNEL_STDOUT;
    if (unsent === 0) process.pauseOutput();
    unsent += 1;
    // A broken stream drops output: the program is being killed.
    const sent = stream.send(channel, bytes).catch(() => {});
    const settled = sent.then(() => {
      unsent -= 1;
      if (unsent === 0) process.resumeOutput();
    });
    last = Promise.all([last, settled]).then(() => {});
  });
  return {
    flushed: async () => {
      // Sending may let more output through: until nothing new has come.
      for (let seen: Promise<void> | null = null; seen !== last; ) {
        seen = last;
        await seen;
      }
    },
  };
}

async function pumpInput(process: ExecProcess, stream: AgentStream): Promise<void> {
  for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) {
    if (!process.write(bytes)) await process.drained();
  }
  process.endInput();
}
