/** Small readings of what a creation request says about size and architecture. Pure. */
import type { Config } from './config.ts';

const ARCHITECTURES: Record<string, string> = {
  amd64: 'x86_64',
  arm64: 'aarch64',
  armhf: 'armv7l',
  i386: 'i686',
  ppc64el: 'ppc64le',
};
const KNOWN = ['x86_64', 'aarch64', 'armv7l', 'i686', 'ppc64le', 's390x', 'riscv64'];

/** The kernel's name of an architecture; null for one that does not exist. */
export function parseArchitecture(name: string): string | null {
  const kernelName = ARCHITECTURES[name] ?? name;
  return KNOWN.includes(kernelName) ? kernelName : null;
}

/** `c2-m4`: two processors and 4 GiB as limits. Null for what is no such type (cloud names are not known). */
export function parseInstanceType(type: string): Config | null {
  const match = /^(?:c(\d{1,4}(?:\.\d{1,3})?))?-?(?:m(\d{1,6}(?:\.\d{1,3})?))?$/.exec(type);
  if (!match || (match[1] === undefined && match[2] === undefined)) return null;
  const [cores, memory] = [Number(match[1] ?? 0), Number(match[2] ?? 0)];
  const size = Number.isInteger(memory) ? `${memory}GiB` : `${Math.ceil(memory * 1024)}MiB`;
  const limits: Config = {};
  if (cores >= 1) limits['limits.cpu'] = String(Math.ceil(cores));
  else if (cores > 0) limits['limits.cpu.allowance'] = `${Math.ceil(cores * 100)}%`;
  if (memory > 0) limits['limits.memory'] = size;
  return limits;
}
