/** Files that only their owner may read, from their first byte on. */
import { rename, writeFile } from 'node:fs/promises';

/** Writes the whole file in one step: a reader finds the old content or the new one. */
export async function writePrivate(file: string, content: string | Buffer): Promise<void> {
  const fresh = await makeFresh(file, content);
  await rename(fresh, file);
}

/** The file beside `file` that is to become it, for a program to fill. */
export async function makeFresh(file: string, content: string | Buffer = ''): Promise<string> {
  const fresh = `${file}.new`;
  await writeFile(fresh, content, { mode: 0o600 });
  return fresh;
}
