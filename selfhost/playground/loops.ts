/** Loop devices. The machine has few, they belong to no namespace, and one may outlive the mount that used it. */
import { run } from '../run.ts';

/** Detaches every loop device whose file is under `dir`. Files are told by inode: paths differ between mount namespaces. */
export async function detachLoops(dir: string): Promise<void> {
  const devices = await run('losetup', ['--list', '--noheadings', '--raw', '--output', 'NAME,BACK-INO']);
  if (devices.stdout.trim() === '') return;
  const files = await run('find', [dir, '-xdev', '-type', 'f', '-size', '+32M', '-printf', '%i\\n'], {
    allowFailure: true,
  });
  const inodes = new Set(files.stdout.split('\n'));
  for (const line of devices.stdout.trim().split('\n')) {
    const [name = '', inode = ''] = line.split(' ');
    if (inodes.has(inode)) await run('losetup', ['--detach', name], { allowFailure: true });
  }
}
