/** Where things are in this repository. Programs run bundled from `.longshore/build`, so nothing may ask its own location. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository: the nearest folder upwards that holds the wrangler file. Throws when there is none. */
function findRepository(from: string): string {
  for (let dir = from; ; dir = path.dirname(dir)) {
    if (existsSync(path.join(dir, 'wrangler.toml'))) return dir;
    if (dir === path.dirname(dir)) throw new Error(`Cannot find the Longshore repository above ${from}`);
  }
}

export const repository = findRepository(path.dirname(fileURLToPath(import.meta.url)));

/** A path inside the repository. */
export const inRepository = (...parts: string[]): string => path.join(repository, ...parts);

/** A path inside `.longshore`, which holds everything made at run time and is in no commit. */
export const inState = (...parts: string[]): string => inRepository('.longshore', ...parts);
