/** `--dump`: what the cluster has, as a preseed. */
import { z } from 'zod';
import type { Api } from './api.ts';
import { EMPTY_PRESEED, type Preseed } from './preseed.ts';

const Config = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});
const description = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const Server = z.object({ config: Config });
const Pool = z.object({ name: z.string(), driver: z.string(), description, config: Config });
const Network = z.object({ name: z.string(), type: z.string(), description, config: Config, managed: z.boolean() });
const Profile = z.object({ name: z.string(), description, config: Config, devices: z.record(z.string(), Config) });
const Project = z.object({ name: z.string(), description, config: Config });

/** Reads only. The trust password is not among it: nobody can be told. */
export async function dumpPreseed(api: Api): Promise<Preseed> {
  const { config } = Server.parse(await api.get('/1.0'));
  const read = async <T extends z.ZodType>(path: string, schema: T) =>
    z.array(schema).parse(await api.get(`/1.0/${path}?recursion=1`));
  const networks = await read('networks', Network);
  return {
    ...EMPTY_PRESEED,
    config: Object.fromEntries(Object.entries(config).filter(([key]) => key !== 'core.trust_password')),
    storage_pools: await read('storage-pools', Pool),
    networks: networks
      .filter(({ managed }) => managed)
      .map(({ managed: _, ...network }) => ({ ...network, project: '' })),
    profiles: await read('profiles', Profile),
    projects: await read('projects', Project),
  };
}
