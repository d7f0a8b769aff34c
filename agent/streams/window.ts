/** Credit windows of one channel. */
import { WINDOW_BYTES } from '#protocol/stream.ts';

/** What may be sent on a channel: bytes unconfirmed by the peer never exceed the window. */
export interface SendWindow {
  /** Resolves with how many of `wanted` bytes may go now (at least one); rejects when the stream ends first. */
  take(wanted: number): Promise<number>;
  give(bytes: number): void;
  /** Ends every waiting `take`. */
  fail(error: Error): void;
}

export function createSendWindow(limit: number = WINDOW_BYTES): SendWindow {
  let free = limit;
  let failure: Error | null = null;
  let waiting: { wake(): void }[] = [];
  const wakeAll = () => {
    const woken = waiting;
    waiting = [];
    for (const waiter of woken) waiter.wake();
  };
  return {
    take: async (wanted) => {
      while (free === 0 && failure === null) await new Promise<void>((wake) => waiting.push({ wake }));
      if (failure !== null) throw failure;
      const granted = Math.min(free, wanted);
      free -= granted;
      return granted;
    },
    give: (bytes) => {
      free = Math.min(limit, free + bytes);
      wakeAll();
    },
    fail: (error) => {
      failure ??= error;
      wakeAll();
    },
  };
}
