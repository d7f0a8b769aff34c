/** Mutual exclusion inside this process, by key. */

export interface KeyedLock {
  /**
   * Runs `work` when every earlier holder of `key` has finished, in order of arrival. Not re-entrant: `work` must not ask
   * for the same key again.
   */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

/** A lock whose keys cost nothing while nobody holds them. */
export function createKeyedLock(): KeyedLock {
  const tails = new Map<string, Promise<void>>();
  return {
    async run(key, work) {
      const before = tails.get(key) ?? Promise.resolve();
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const tail = before.then(() => held);
      tails.set(key, tail);
      await before;
      try {
        return await work();
      } finally {
        release();
        if (tails.get(key) === tail) tails.delete(key);
      }
    },
  };
}
