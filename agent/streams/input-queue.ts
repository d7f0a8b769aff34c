/** What came in on one channel and has not been read: bounded by the window that the peer was granted. */

export interface InputQueue {
  push(bytes: Uint8Array): void;
  /** The peer has sent its last byte. */
  end(): void;
  fail(error: Error): void;
  /** The next bytes, or null at the end; rejects when the stream broke. One reader. */
  next(): Promise<Uint8Array | null>;
}

/** `onRead` is told how many bytes have left the queue, so that the peer gets its credit back. */
export function createInputQueue(limit: number, onRead: (bytes: number) => void): InputQueue {
  const chunks: Uint8Array[] = [];
  let held = 0;
  let ended = false;
  let failure: Error | null = null;
  let wake: (() => void) | null = null;
  const notify = () => {
    wake?.();
    wake = null;
  };
  return {
    push: (bytes) => {
      if (ended || failure !== null || bytes.length === 0) return;
      held += bytes.length;
      if (held > limit) failure = new Error('The peer sent more than its window');
      else chunks.push(bytes);
      notify();
    },
    end: () => {
      ended = true;
      notify();
    },
    fail: (error) => {
      failure ??= error;
      notify();
    },
    next: async () => {
      while (chunks.length === 0 && !ended && failure === null) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (failure !== null) throw failure;
      const bytes = chunks.shift();
      if (bytes === undefined) return null;
      held -= bytes.length;
      onRead(bytes.length);
      return bytes;
    },
  };
}
