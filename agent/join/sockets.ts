/** Where the agent of a new member serves the API on this host, when nobody says otherwise. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { createApi } from '../init/api.ts';

/** Where stock clients look when nobody tells them, and where `lxd init` reads the server's certificate. */
export const lxdDir = (): string => process.env.LXD_DIR ?? '/var/lib/lxd';

const Configured = z.looseObject({ socketPaths: z.array(z.string()).optional() });
const Ours = z.looseObject({ environment: z.looseObject({ longshore_version: z.string() }) });

/**
 * Our own socket, and LXD's unless a daemon of LXD answers there: then `lxc` goes on meaning that one. A host that was a
 * member keeps what its configuration says.
 */
export async function chooseSocketPaths(configPath: string, runDir: string): Promise<string[] | undefined> {
  if (existsSync(configPath)) return Configured.safeParse(parse(readFileSync(configPath, 'utf8'))).data?.socketPaths;
  const own = join(runDir, 'unix.socket');
  const stock = join(lxdDir(), 'unix.socket');
  return (await isForeign(stock)) ? [own] : [own, stock];
}

async function isForeign(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  try {
    return !Ours.safeParse(await createApi(path).get('/1.0')).success;
  } catch {
    // Left behind by a program that is gone.
    return false;
  }
}
