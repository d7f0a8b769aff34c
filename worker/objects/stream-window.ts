/**
 * Credit windows of `protocol/stream.ts` for the sending side: how many bytes may still go, and who waits for more. Bounded
 * memory follows from it: a sender never has more than a window unconfirmed.
 */
import { WINDOW_BYTES } from '#protocol/stream.ts';

export class SendWindow {
  #free = WINDOW_BYTES;
  #waiters: (() => void)[] = [];

  get free(): number {
    return this.#free;
  }

  take(bytes: number): void {
    this.#free -= bytes;
  }

  give(bytes: number): void {
    this.#free = Math.min(WINDOW_BYTES, this.#free + bytes);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves when anything may be sent. */
  async ready(): Promise<void> {
    while (this.#free <= 0) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}
