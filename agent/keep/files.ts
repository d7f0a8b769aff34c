/**
 * The host's copy of what it needs of the database: `backup.yaml` beside each instance, and `cluster.yaml` for what instances
 * are built on. Each file is there whole or not at all; the instances' are written first, so that `cluster.yaml` names none
 * whose copy is older than itself. A copy goes only with its instance: an empty control plane takes nothing away here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { ClusterBackup, type HostBackup, InstanceBackup } from '#protocol/backup.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import { hostName } from '#protocol/names.ts';
import { writeWhole } from '../join/files.ts';

const InstanceFile = z.object({ instance: InstanceBackup, takenAt: z.string() });
/** `instances`: ids of those that were this member's at that time. */
const ClusterFile = z.object({ takenAt: z.string(), instances: z.array(z.string()), cluster: ClusterBackup });

/** Below the data directory. */
export const CLUSTER_FILE = 'cluster.yaml';

export interface KeptFiles {
  write(backup: HostBackup): void;
  /** Null when there is none, or none that can be read. */
  findCluster(): z.infer<typeof ClusterFile> | null;
  /** Null when there is none, or none that can be read. */
  findInstance(ref: InstanceRef): z.infer<typeof InstanceFile> | null;
}

export function createKeptFiles(dataDir: string): KeptFiles {
  const clusterFile = join(dataDir, CLUSTER_FILE);
  const directoryOf = (ref: InstanceRef) => join(dataDir, 'containers', hostName(ref.project, ref.name));
  return {
    write: ({ takenAt, cluster, instances }) => {
      for (const instance of instances) {
        // It may have been deleted since.
        if (!existsSync(directoryOf(instance))) continue;
        const file = join(directoryOf(instance), 'backup.yaml');
        const text = stringify({ instance });
        if (existsSync(file) && readFileSync(file, 'utf8').startsWith(text)) continue;
        writeWhole(file, text + stringify({ takenAt }), 0o600);
      }
      writeWhole(clusterFile, stringify({ takenAt, instances: instances.map(({ id }) => id), cluster }), 0o600);
    },
    findCluster: () => read(clusterFile, ClusterFile),
    findInstance: (ref) => read(join(directoryOf(ref), 'backup.yaml'), InstanceFile),
  };
}

/** A file that cannot be read is as good as none: what the journal knows is given instead. */
function read<T>(file: string, schema: z.ZodType<T>): T | null {
  if (!existsSync(file)) return null;
  try {
    return schema.safeParse(parse(readFileSync(file, 'utf8'))).data ?? null;
  } catch {
    return null;
  }
}
