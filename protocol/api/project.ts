/** Bodies of the project endpoints (lxd-api 5.7, 10.11). */
import { z } from 'zod';
import { config, optional, text } from './common.ts';

export const ProjectsPost = z
  .object({ name: text(), description: text(), config: config() })
  .meta({ id: 'ProjectsPost', description: 'A new project', example: { name: 'blog', config: {} } });
export type ProjectsPost = z.infer<typeof ProjectsPost>;

export const ProjectPut = z
  .object({ description: text(), config: config() })
  .meta({ id: 'ProjectPut', description: 'The writable part of a project' });
export type ProjectPut = z.infer<typeof ProjectPut>;

export const ProjectPatch = z
  .object({ description: optional(z.string()), config: config() })
  .meta({ id: 'ProjectPatch', description: 'Changes of a project; config is merged' });
export type ProjectPatch = z.infer<typeof ProjectPatch>;

export const ProjectPost = z
  .object({ name: text() })
  .meta({ id: 'ProjectPost', description: 'A new name for a project' });
export type ProjectPost = z.infer<typeof ProjectPost>;
