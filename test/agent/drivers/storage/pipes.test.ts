import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { carryOutput, feedInput } from '#agent/drivers/storage/pipes.ts';
import { ExecError } from '#agent/system/exec.ts';

/** Far more than pipes hold. */
async function* large(end: () => void = () => {}): AsyncGenerator<Buffer> {
  for (let i = 0; i < 100; i++) {
    // As a connection would, it comes bit by bit.
    await new Promise((resolve) => setImmediate(resolve));
    yield Buffer.alloc(60_000, 'x');
  }
  end();
}

const broken = (): never => {
  throw new Error('cut');
};

describe('feeding a program', () => {
  it('ends when it has all of it', () => feedInput('tee', ['/dev/null'], Readable.from(large())));

  it('reads on when it has had enough: only the end of the content tells that it was whole', async () => {
    await feedInput('head', ['-c', '10'], Readable.from(large()));
    await expect(feedInput('head', ['-c', '10'], Readable.from(large(broken)))).rejects.toThrow('cut');
  });

  it('fails with the program’s own reason as soon as it ends badly', async () => {
    let isRead = false;
    const content = large(() => {
      isRead = true;
    });
    await expect(feedInput('false', [], Readable.from(content))).rejects.toThrow(ExecError);
    expect(isRead).toBe(false);
    await expect(feedInput('no-such-program', [], Readable.from(large()))).rejects.toThrow('ENOENT');
  });

  it('fails with the content’s reason when that breaks off', async () => {
    await expect(feedInput('tee', ['/dev/null'], Readable.from(large(broken)))).rejects.toThrow('cut');
  });
});

describe('carrying a program’s output', () => {
  it('gives all of it, and fails when the program does', async () => {
    let size = 0;
    const count = async (content: Readable) => {
      for await (const chunk of content) size += chunk.length;
    };
    await carryOutput('head', ['-c', '1000000', '/dev/zero'], count);
    expect(size).toBe(1_000_000);
    await expect(carryOutput('cat', ['/nonexistent'], count)).rejects.toThrow('No such file');
  });

  it('loses nothing of a program that has ended before anybody reads', async () => {
    let text = '';
    await carryOutput('echo', ['still here'], async (content) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      for await (const chunk of content) text += chunk;
    });
    expect(text).toBe('still here\n');
  });

  it('ends a program that nobody listens to any more', async () => {
    await expect(carryOutput('cat', ['/dev/zero'], async () => broken())).rejects.toThrow('cut');
  });
});
