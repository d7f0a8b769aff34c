/** What a person sees while the playground starts: one line per finished step, with the time it took. */

export type Report = <T>(what: string, work: () => Promise<T>) => Promise<T>;

const formatSeconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** Prints a line when a step ends; at a terminal also the step that has been going on for a while. */
export function createReport(write: (line: string) => void): Report {
  return async (what, work) => {
    const start = performance.now();
    // Nobody needs to hear of a step that takes no time; of a long one, that it is alive.
    const timer = setTimeout(() => write(`  ${what} …`), 3_000);
    try {
      const answer = await work();
      write(`✓ ${what} (${formatSeconds(performance.now() - start)})`);
      return answer;
    } catch (error) {
      write(`✗ ${what} (${formatSeconds(performance.now() - start)})`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  };
}

/** For tests: does the work, says nothing. */
export const silentReport: Report = (_what, work) => work();
