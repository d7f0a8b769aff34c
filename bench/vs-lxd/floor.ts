/** The floor under each measure: the same work by the bare tools on a Longshore host, timed inside it. */
import path from 'node:path';
import { inRepository } from '#selfhost/paths.ts';
import { execInHost, type Host } from '#selfhost/playground/host.ts';

export type FloorVerb = 'launch' | 'launch-many' | 'exec' | 'stop' | 'push' | 'pull';

export interface Floor {
  /** Does it once; resolves to milliseconds. Throws the tools' own words. */
  measure(verb: FloorVerb): Promise<number>;
}

/** The agent's mount of the pool `default`. */
const POOL = '/var/lib/longshore/storage-pools/default';

/** Unpacks the image into the pool and starts the container that `exec`, `push` and `pull` use. */
export async function prepareFloor(host: Host, rootfs: string, noise: string): Promise<Floor> {
  const tools = async (verb: 'prepare' | FloorVerb, argument: string): Promise<string> => {
    const argv = [inRepository('bench/vs-lxd/bare-tools'), path.join(POOL, 'floor'), verb, argument];
    const { code, stdout, stderr } = await execInHost(host, argv);
    if (code !== 0) throw new Error(`bare-tools ${verb}: ${(stderr || stdout).trim()}`);
    return stdout;
  };
  await tools('prepare', rootfs);
  return { measure: async (verb) => Number(await tools(verb, noise)) / 1000 };
}
