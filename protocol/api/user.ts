/** Bodies of `/1.0/auth/users`: people who log in by the built-in OIDC issuer. */
import { z } from 'zod';
import { flag, optional, text } from './common.ts';

const projects = z.array(z.string()).nullable();

export const UsersPost = z
  .object({
    name: text(),
    /** Empty: one is made, and only this answer shows it. */
    password: text(),
    /** Confines the user to these; absent: all of them, and the server itself. */
    projects: projects.nullish().transform((value) => value ?? null),
    read_only: flag(),
  })
  .meta({
    id: 'UsersPost',
    description: 'Somebody who may log in',
    example: { name: 'ada', password: '', projects: null, read_only: false },
  });
export type UsersPost = z.infer<typeof UsersPost>;

export const UserPatch = z
  .object({
    /** Ends all logins of the user. */
    password: optional(z.string()),
    projects: projects.optional(),
    read_only: optional(z.boolean()),
  })
  .meta({ id: 'UserPatch', description: 'Changes of a user; `projects` null is all of them' });
export type UserPatch = z.infer<typeof UserPatch>;
