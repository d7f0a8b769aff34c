/** Programs that give or take a volume as a stream. */
import type { Readable, Writable } from 'node:stream';
import { startReading, startWriting } from '../../system/pipe.ts';
import type { Carry } from './driver.ts';

const KILL_AFTER_MS = 5_000;

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
 * Feeds a program with `content`, which is read to its end even when the program has had enough (btrfs knows the end of its
 * streams): only that tells whether it was whole. Throws what `content` throws, or `ExecError` as soon as the program has
 * ended badly; it has ended when this returns.
 */
export async function feedInput(file: string, args: readonly string[], content: Readable): Promise<void> {
  const program = startReading(file, args);
  const { stdin } = program;
  let failure: unknown = null;
  program.exited.catch((error: unknown) => {
    failure = error;
  });
  // Written to after its end: `exited` tells why.
  stdin.on('error', () => {});
  try {
    for await (const chunk of content) {
      if (failure !== null) throw failure;
      if (!stdin.destroyed && !stdin.write(chunk)) await roomIn(stdin);
    }
  } catch (error) {
    // The end of its input lets it tidy up after itself; killed, it may leave zfs-fuse waiting for more.
    stdin.destroy();
    const patience = setTimeout(() => program.kill(), KILL_AFTER_MS);
    await program.exited.catch(() => {});
    clearTimeout(patience);
    throw error;
  }
  if (!stdin.destroyed) stdin.end();
  await program.exited;
}

/** Resolves when more may be written, or nothing any more. */
function roomIn(stdin: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stdin.off('drain', done);
      stdin.off('close', done);
      resolve();
    };
    stdin.on('drain', done);
    stdin.on('close', done);
  });
}
