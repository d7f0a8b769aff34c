/** LXD's sizes and booleans (lxd-api 10.6). Pure; each returns null for what it cannot read. */

const FACTORS: Record<string, number> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  EB: 1e18,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  PiB: 2 ** 50,
  EiB: 2 ** 60,
};

/** `parseSizeBytes('128MiB')` is 134217728; a bare number is bytes. */
export function parseSizeBytes(text: string): number | null {
  const match = /^\s*(\d{1,15})\s*([A-Za-z]*)\s*$/.exec(text);
  if (!match) return null;
  const factor = FACTORS[match[2] ?? ''];
  return factor === undefined ? null : Number(match[1]) * factor;
}

/** A size, or a percentage of `totalBytes`. */
export function parseMemoryBytes(text: string, totalBytes: number): number | null {
  const percent = /^(\d{1,3})%$/.exec(text.trim());
  if (percent) return Math.floor((totalBytes * Number(percent[1])) / 100);
  return parseSizeBytes(text);
}

/** For people: `formatBytes(1610612736)` is `1.50GiB`, as LXD's clients write sizes. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return power === 0 ? `${Math.round(bytes)}B` : `${(bytes / 1024 ** power).toFixed(2)}${units[power]}`;
}

/** LXD's booleans, in any case: true/1/yes/on, false/0/no/off. */
export function parseBool(text: string): boolean | null {
  const value = text.toLowerCase();
  if (['true', '1', 'yes', 'on'].includes(value)) return true;
  if (['false', '0', 'no', 'off', ''].includes(value)) return false;
  return null;
}

export const isTrue = (text: string | undefined) => text !== undefined && parseBool(text) === true;
