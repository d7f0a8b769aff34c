/** Handing over to the release that this host was upgraded to. */
import { pathToFileURL } from 'node:url';
import { readConfig } from '../config.ts';
import { chooseRelease, failRelease } from './store.ts';

/**
 * Runs the upgraded release, with the same arguments, in this process; it ends the process itself. Returns when this program
 * is the one to run: there is no other, or it could not be loaded.
 */
export async function handOver(configPath: string): Promise<void> {
  const dataDir = dataDirOf(configPath);
  if (dataDir === null) return;
  // One that cannot be loaded gives way to the one before it, and that to the base.
  for (let release = chooseRelease(dataDir); release !== null; release = chooseRelease(dataDir)) {
    await load(dataDir, release);
  }
}

async function load(dataDir: string, release: string): Promise<void> {
  try {
    await import(pathToFileURL(release).href);
  } catch (error) {
    process.stderr.write(`The upgraded agent cannot be loaded, the one before runs on: ${String(error)}\n`);
    failRelease(dataDir);
  }
}

/** Null while the host is no member, or its configuration is for a newer agent than this one. */
function dataDirOf(configPath: string): string | null {
  try {
    return readConfig(configPath, process.env).dataDir;
  } catch {
    return null;
  }
}
