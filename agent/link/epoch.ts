/** The epoch: how often the agent of this host has started. A cloned disk counts on from the same number and is found out. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Raises the counter in `<dataDir>/epoch` and returns it; on disk before it returns. Unreadable content counts as 0. */
export function nextEpoch(dataDir: string): number {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const path = join(dataDir, 'epoch');
  const epoch = readEpoch(path) + 1;
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, `${epoch}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  return epoch;
}

function readEpoch(path: string): number {
  try {
    const value = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return Number.isSafeInteger(value) && value > 0 ? value : 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}
