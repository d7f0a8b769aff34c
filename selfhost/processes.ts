/** Looking at processes through `/proc`. */
import { readFileSync } from 'node:fs';

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}

/** Children of the process: name → pid. Empty when there is no such process. */
export function childrenOf(pid: number): Record<string, number> {
  const children = (read(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number);
  return Object.fromEntries(children.map((child) => [read(`/proc/${child}/comm`) ?? String(child), child]));
}

/** Resident memory of a process; 0 when it is gone. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return Number(kib ?? 0) * 1024;
}

/** Pid of the process's parent. Throws when there is no such process. */
export function parentOf(pid: number): number {
  const parent = /^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  if (parent === undefined) throw new Error(`There is no process ${pid}`);
  return Number(parent);
}
