/** Time that passes between two acts of a campaign; what is waited for is asked for instead. */
export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
