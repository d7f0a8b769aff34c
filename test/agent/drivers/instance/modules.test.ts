import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadModules } from '#agent/drivers/instance/modules.ts';
import { type Exec, ExecError } from '#agent/system/exec.ts';

async function host(...loaded: string[]) {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-modules-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  for (const name of loaded) await mkdir(join(directory, name));
  const started: string[] = [];
  const exec: Exec = async (file, args) => {
    started.push([file, ...args].join(' '));
    if (args.includes('absent')) throw new ExecError(file, 1, 'FATAL: Module absent not found.\n');
    return { stdout: '', stderr: '', exitCode: 0 };
  };
  return { started, load: (list: string) => loadModules(exec, list, directory) };
}

describe('linux.kernel_modules', () => {
  it('loads what the kernel lacks, and nothing twice', async () => {
    const { started, load } = await host('overlay', 'nf_nat');
    await load('overlay, ip_tables,nf-nat');
    expect(started).toEqual(['modprobe -b ip_tables']);
  });

  it('says which one the host does not have', async () => {
    const { load } = await host();
    await expect(load('absent')).rejects.toThrow(
      'Failed to load kernel module "absent": FATAL: Module absent not found.',
    );
  });

  it.each(['--remove', '../x', 'a b'])('starts nothing for the name %j', async (name) => {
    const { started, load } = await host();
    await expect(load(name)).rejects.toThrow('Failed to load kernel module');
    expect(started).toEqual([]);
  });
});
