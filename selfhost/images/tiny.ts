/** The image `tiny`: a static busybox and an init that starts and stops in milliseconds. About 1 MB, reproducible to the byte. */
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inRepository } from '../paths.ts';
import { run } from '../run.ts';
import { type BuiltImage, ensureImage, hashOf } from './cache.ts';
import { architecture, packMetadata, packRootfs } from './pack.ts';

/** Any fixed moment: the same busybox gives the same fingerprint, always and everywhere. */
const CREATED_AT = 1_700_000_000;

const DIRS = [
  ...['bin', 'sbin', 'usr/bin', 'usr/sbin', 'etc/init.d', 'proc', 'sys', 'dev', 'root', 'run', 'mnt', 'tmp'],
  ...['var/log', 'var/lib/misc'],
];

const FILES: Record<string, string> = {
  'etc/passwd':
    'root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000:user:/tmp:/bin/sh\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nnobody:x:65534:\nuser:x:1000:\n',
  'etc/hostname': 'tiny\n',
  'etc/hosts': '127.0.0.1 localhost\n',
  'etc/resolv.conf': '',
  'etc/os-release': 'NAME=tiny\nID=tiny\nVERSION_ID=1\n',
};

/** Programs of ours → where they stand in the image. */
const SCRIPTS = { init: 'sbin/init', rcS: 'etc/init.d/rcS', 'udhcpc.sh': 'etc/udhcpc.sh' };

/** The image, from the cache when it was built before; about 0.5 s. Needs the package busybox-static. */
export async function ensureTiny(busybox = '/bin/busybox'): Promise<BuiltImage & { built: boolean }> {
  const scripts = await Promise.all(Object.keys(SCRIPTS).map((name) => readFile(scriptPath(name))));
  const hash = hashOf(await readFile(busybox), ...scripts, JSON.stringify([CREATED_AT, DIRS, FILES, 'v2']));
  return ensureImage('tiny', hash, async (dir) => {
    await buildTree(path.join(dir, 'rootfs'), busybox);
    await packMetadata(dir, {
      architecture: architecture().lxd,
      createdAt: CREATED_AT,
      properties: {
        architecture: architecture().debian,
        description: 'Busybox, tiny (for tests and trying out)',
        os: 'busybox',
        release: '1',
        variant: 'default',
      },
    });
    await packRootfs(dir, ['-all-root', '-all-time', String(CREATED_AT), '-mkfs-time', String(CREATED_AT)]);
  });
}

const scriptPath = (name: string): string => inRepository('selfhost/images/tiny', name);

async function buildTree(root: string, busybox: string): Promise<void> {
  for (const dir of DIRS) await mkdir(path.join(root, dir), { recursive: true });
  await chmod(path.join(root, 'tmp'), 0o1777);
  await symlink('../run', path.join(root, 'var/run'));
  await copyFile(busybox, path.join(root, 'bin/busybox'));
  await chmod(path.join(root, 'bin/busybox'), 0o755);
  const list = await run(busybox, ['--list-full']);
  for (const applet of list.stdout.trim().split('\n')) {
    if (applet === 'bin/busybox' || applet === SCRIPTS.init) continue;
    await mkdir(path.dirname(path.join(root, applet)), { recursive: true });
    await symlink('/bin/busybox', path.join(root, applet));
  }
  for (const [name, text] of Object.entries(FILES)) await writeFile(path.join(root, name), text, { mode: 0o644 });
  for (const [name, place] of Object.entries(SCRIPTS)) {
    await copyFile(scriptPath(name), path.join(root, place));
    await chmod(path.join(root, place), 0o755);
  }
}
