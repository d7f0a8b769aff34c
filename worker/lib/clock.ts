/** The control plane's clock: the one every deadline is judged by. */

/** Now, as a UTC ISO string with milliseconds: such strings sort as times do. */
export const nowIso = (): string => new Date().toISOString();

/** A time `ms` away from an ISO time; negative goes back. Throws a RangeError for a string that is no time. */
export const shiftIso = (iso: string, ms: number): string => new Date(Date.parse(iso) + ms).toISOString();
