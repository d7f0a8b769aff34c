/** Changing limits of a running container through its control group files. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { failed } from '#protocol/errors.ts';
import { type Cgroup, readCgroupFile, writeCgroupFile } from '../../system/cgroup.ts';
import type { ControllerLimits, LimitFile } from './limits.ts';

/** An error of the kernel in words for a user: "Device or resource busy" is how it says "in use above that". */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'EBUSY') return 'Device or resource busy (current usage is above the new limit)';
  if (code === 'EINVAL' || code === 'ERANGE') return 'Invalid argument';
  if (code === 'EACCES' || code === 'EPERM') return 'Permission denied';
  return error instanceof Error ? error.message : String(error);
}

const infinite = (value: string) => (value === '-1' || value === 'max' ? Number.POSITIVE_INFINITY : Number(value));

/** v1 keeps `memory <= memory+swap` at all times: raise the sum first, lower it last. */
function inOrder(files: LimitFile[], directory: string): LimitFile[] {
  const limit = files.find(({ file }) => file === 'memory.limit_in_bytes');
  const sum = files.find(({ file }) => file === 'memory.memsw.limit_in_bytes');
  if (limit === undefined || sum === undefined) return files;
  const rest = files.filter((one) => one !== limit && one !== sum);
  const current = infinite(readCgroupFile(directory, limit.file) ?? '-1');
  return infinite(limit.value) >= current ? [sum, limit, ...rest] : [limit, sum, ...rest];
}

function applyController(limits: ControllerLimits, directory: string, version: 1 | 2): void {
  const files = (version === 1 ? limits.v1 : limits.v2).filter(({ file }) => existsSync(join(directory, file)));
  const written: LimitFile[] = [];
  for (const { file, value } of inOrder(files, directory)) {
    const old = readCgroupFile(directory, file);
    if (old === value) continue;
    try {
      writeCgroupFile(directory, file, value);
    } catch (error) {
      for (const back of written.reverse()) writeCgroupFile(directory, back.file, back.value);
      throw failed(`Failed setting ${limits.keys}: ${reasonOf(error)}`, error);
    }
    if (old !== null) written.push({ file, value: old });
  }
}

/** Writes every limit that differs. Throws `failed` with the kernel's reason; that controller then has its old values. */
export function applyLiveLimits(cgroup: Cgroup, all: ControllerLimits[]): void {
  for (const limits of all) {
    const group = cgroup.find(limits.controller);
    if (group !== null) applyController(limits, group.directory, group.version);
    else if (limits.limited)
      throw failed(`Failed setting ${limits.keys}: this host has no ${limits.controller} controller`);
  }
}
