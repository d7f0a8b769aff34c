/**
 * What a join that has begun remembers: its token, and what it was told for this host. With the key beside it a join that
 * died at any step is the same joiner when it runs again, also when it began with a password that is good for one try.
 */
import { readFileSync, rmSync } from 'node:fs';
import { z } from 'zod';
import { JoinRequest, JoinToken } from '#protocol/join.ts';
import { writeWhole } from './files.ts';

const Record = z.object({ token: JoinToken, memberConfig: JoinRequest.shape.memberConfig.unwrap() });
export type JoinRecord = z.infer<typeof Record>;

/** Null when no join was cut off here. */
export function findJoinRecord(path: string): JoinRecord | null {
  try {
    return Record.safeParse(JSON.parse(readFileSync(path, 'utf8'))).data ?? null;
  } catch {
    return null;
  }
}

/** Only root may read it: it holds the token. */
export const writeJoinRecord = (path: string, record: JoinRecord): void =>
  writeWhole(path, `${JSON.stringify(record)}\n`, 0o600);

export const removeJoinRecord = (path: string): void => rmSync(path, { force: true });
