/** A socket that is closing already refuses to be closed or written to; that is no news. */
export function quietly(action: () => void): void {
  try {
    action();
  } catch {}
}
