/** How much of its limits a project uses: `GET /1.0/projects/<name>/state`. */

import { parseSizeBytes } from '#protocol/units.ts';
import { expandConfig } from '#worker/domain/config.ts';
import { featureProject } from '#worker/domain/project.ts';
import { listInstances } from '#worker/state/instance-queries.ts';
import type { ProjectRow } from '#worker/state/projects.ts';
import type { Authorized } from './context.ts';

/** LXD's capitalised pairs; -1 is no limit. Only what instances are limited to counts as used. */
export async function projectUsage(ctx: Authorized, project: ProjectRow) {
  const list = await listInstances(ctx.db, [project.name]);
  const owner = featureProject(project, 'profiles');
  const configs = list.rows.map((row) =>
    expandConfig(
      row.profiles.flatMap((name) => list.profiles.find((p) => p.project === owner && p.name === name) ?? []),
      row.config,
    ),
  );
  const sum = (of: (config: Record<string, string>) => number) =>
    configs.reduce((total, config) => total + of(config), 0);
  const limit = (key: string) => parseSizeBytes(project.config[`limits.${key}`] ?? '') ?? -1;
  const entry = (key: string, usage: number) => [key, { Limit: limit(key), Usage: usage }] as const;
  return {
    resources: Object.fromEntries([
      entry('containers', configs.length),
      entry(
        'cpu',
        sum((config) => (/^\d+$/.test(config['limits.cpu'] ?? '') ? Number(config['limits.cpu']) : 0)),
      ),
      entry('disk', 0),
      entry('instances', configs.length),
      entry(
        'memory',
        sum((config) => parseSizeBytes(config['limits.memory'] ?? '') ?? 0),
      ),
      entry('networks', 0),
      entry(
        'processes',
        sum((config) => Number(config['limits.processes'] ?? 0) || 0),
      ),
      entry('virtual-machines', 0),
    ]),
  };
}
