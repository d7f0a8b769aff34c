/** People who log in by the built-in OIDC issuer (extension `longshore_users`). The first one turns it on. */
import type { UserPatch, UsersPost } from '#protocol/api/user.ts';
import { AppError, badRequest, conflict, notFound } from '#protocol/errors.ts';
import { checkPassword, checkUserName } from '#worker/domain/oidc.ts';
import { hashPassword } from '#worker/lib/crypto.ts';
import {
  deleteLogins,
  deleteUser,
  findUser,
  insertUser,
  listUsers,
  type UserRow,
  updateUser,
} from '#worker/state/users.ts';
import { checkProjects } from './certificates.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized, Context } from './context.ts';

export const userUrl = (name: string): string => `/1.0/auth/users/${encodeURIComponent(name)}`;

export const userToApi = (row: UserRow) => ({
  name: row.name,
  projects: row.projects,
  read_only: row.readOnly,
  created_at: row.createdAt,
});

export const usersOf = (ctx: Context): Promise<UserRow[]> => listUsers(ctx.db);

/** Throws `User not found`. */
export async function getUser(ctx: Context, name: string): Promise<UserRow> {
  const row = await findUser(ctx.db, name);
  if (row === undefined) throw notFound('User');
  return row;
}

/**
 * Adds the user. The answer has the password when it was made here; it is shown this once. Throws 400 for a name or password
 * that cannot be, 404 for a project that is not there, 409 when the name is taken.
 */
export async function createUser(
  ctx: Authorized,
  { name, password, projects, read_only }: UsersPost,
): Promise<{ row: UserRow; madePassword: string | null }> {
  const made = password === '' ? newPassword() : null;
  const refusal = checkUserName(name) ?? checkPassword(made ?? password);
  if (refusal !== null) throw badRequest(refusal);
  const row: UserRow = {
    name,
    passwordHash: await hashPassword(made ?? password),
    projects: await readProjects(ctx, projects),
    readOnly: read_only,
    createdAt: ctx.now(),
  };
  try {
    const event = lifecycle(ctx, 'auth-user-created', userUrl(name));
    await makeChange(ctx, { writes: [insertUser(ctx.db, row)], events: [event] });
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    throw conflict(`User "${name}" already exists`, error);
  }
  return { row, madePassword: made };
}

/** What is left out stays. A new password ends the user's logins; new rights hold from the next request on. */
export async function changeUser(ctx: Authorized, { name }: UserRow, change: UserPatch): Promise<void> {
  const refusal = change.password === undefined ? null : checkPassword(change.password);
  if (refusal !== null) throw badRequest(refusal);
  const values = {
    ...(change.password === undefined ? {} : { passwordHash: await hashPassword(change.password) }),
    ...(change.projects === undefined ? {} : { projects: await readProjects(ctx, change.projects) }),
    ...(change.read_only === undefined ? {} : { readOnly: change.read_only }),
  };
  if (Object.keys(values).length === 0) return;
  await makeChange(ctx, {
    writes: [updateUser(ctx.db, name, values), ...(change.password === undefined ? [] : deleteLogins(ctx.db, name))],
    events: [lifecycle(ctx, 'auth-user-updated', userUrl(name))],
  });
}

/** The user and everything that was allowed in that name end with the next request. */
export async function removeUser(ctx: Authorized, { name }: UserRow): Promise<void> {
  const event = lifecycle(ctx, 'auth-user-deleted', userUrl(name));
  await makeChange(ctx, { writes: deleteUser(ctx.db, name), events: [event] });
}

async function readProjects(ctx: Authorized, projects: string[] | null): Promise<string[] | null> {
  if (projects === null) return null;
  if (projects.length === 0) throw badRequest('A user without any project can do nothing');
  return checkProjects(ctx, projects);
}

/** 120 random bits, in groups that can be read out. */
function newPassword(): string {
  const letters = 'abcdefghijkmnpqrstuvwxyz23456789';
  const random = crypto.getRandomValues(new Uint8Array(24));
  const text = Array.from(random, (byte) => letters[byte % letters.length]).join('');
  return text.match(/.{6}/g)?.join('-') ?? text;
}
