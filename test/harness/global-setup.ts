/** One three-host cluster for the whole end-to-end run; the test files find it by `e2eCluster()`. */
import { E2E_VARIABLE, startCluster } from './cluster.ts';

/** Vitest calls it before the first file, and what it returns after the last. */
export async function setup(): Promise<() => Promise<void>> {
  const cluster = await startCluster();
  process.env[E2E_VARIABLE] = JSON.stringify(cluster.info);
  return () => cluster.stop();
}
