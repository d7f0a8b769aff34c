/** `linux.kernel_modules`: what the host's kernel must have loaded before an instance starts. */
import { existsSync } from 'node:fs';
import { failed } from '#protocol/errors.ts';
import { type Exec, ExecError } from '../../system/exec.ts';

/** Where the kernel lists the modules that it has, built in or loaded. */
const LOADED = '/sys/module';

/** A file name of the kernel's module tree: never an option of `modprobe`, never a path. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]*$/;

/** Loads those that are missing. Throws `failed` with LXD's text for one that the host does not have. */
export async function loadModules(exec: Exec, list: string, loaded: string = LOADED): Promise<void> {
  const names = list
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
  for (const name of names) {
    const refusal = `Failed to load kernel module "${name}"`;
    if (!NAME.test(name)) throw failed(refusal);
    if (existsSync(`${loaded}/${name.replaceAll('-', '_')}`)) continue;
    try {
      await exec('modprobe', ['-b', name]);
    } catch (error) {
      throw failed(error instanceof ExecError ? `${refusal}: ${error.stderr.trim()}` : refusal, error);
    }
  }
}
