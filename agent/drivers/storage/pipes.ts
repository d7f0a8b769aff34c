/** Programs that give or take a volume as a stream. */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ExecError } from '../../system/exec.ts';
import { startReading, startWriting } from '../../system/pipe.ts';
import type { Carry } from './driver.ts';

/** Gives a program's output to `carry`. Throws what `carry` throws, or `ExecError` for a bad end; the program has ended. */
export async function carryOutput(file: string, args: readonly string[], carry: Carry): Promise<void> {
  const program = startWriting(file, args, null);
  try {
    await carry(program.stdout);
    await program.exited;
  } finally {
    program.kill();
    await program.exited.catch(() => {});
  }
}

/**
 * Feeds a program with `content`. A content that breaks off is the reason for whatever the program says of it; a program
 * that ends first says itself why. It has ended when this returns.
 */
export async function feedInput(file: string, args: readonly string[], content: Readable): Promise<void> {
  const program = startReading(file, args);
  let broken: unknown = null;
  content.once('error', (error) => {
    broken ??= error;
  });
  try {
    await pipeline(content, program.stdin);
  } catch (error) {
    if (broken !== null) program.kill();
    const reason = await program.exited.then(
      () => error,
      (ending: unknown) => (broken === null || wasFirst(broken) ? ending : broken),
    );
    throw reason;
  }
  await program.exited;
}

/** `pipeline` gives the program's end to the content as its own error. */
const wasFirst = (error: unknown) =>
  error instanceof ExecError ||
  (error instanceof Error &&
    'code' in error &&
    (error.code === 'EPIPE' || error.code === 'ERR_STREAM_PREMATURE_CLOSE'));
