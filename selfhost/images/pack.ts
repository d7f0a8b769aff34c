/** From a tree to the two files of a split LXD image. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import { run } from '../run.ts';

export interface ImageDescription {
  architecture: string;
  /** Seconds since 1970. */
  createdAt: number;
  properties: Record<string, string>;
}

/** LXD's name for the machine's architecture, and Debian's. Throws on one we build no images for. */
export function architecture(): { lxd: string; debian: string } {
  if (process.arch === 'x64') return { lxd: 'x86_64', debian: 'amd64' };
  if (process.arch === 'arm64') return { lxd: 'aarch64', debian: 'arm64' };
  throw new Error(`No images for ${process.arch}`);
}

/** Writes `meta.tar.gz` into `dir`; its bytes depend on the description alone. The host name is the instance's. */
export async function packMetadata(dir: string, description: ImageDescription): Promise<void> {
  const work = path.join(dir, 'meta');
  await mkdir(path.join(work, 'templates'), { recursive: true });
  const document = {
    architecture: description.architecture,
    creation_date: description.createdAt,
    properties: description.properties,
    templates: { '/etc/hostname': { when: ['create', 'copy'], template: 'hostname.tpl' } },
  };
  await writeFile(path.join(work, 'metadata.yaml'), stringify(document));
  await writeFile(path.join(work, 'templates', 'hostname.tpl'), '{{ instance.name }}\n');
  const same = ['--sort=name', `--mtime=@${description.createdAt}`, '--owner=0', '--group=0', '--numeric-owner'];
  const tarball = path.join(dir, 'meta.tar');
  await run('tar', [...same, '--format=gnu', '-C', work, '-cf', tarball, 'metadata.yaml', 'templates']);
  await run('gzip', ['-9n', tarball]);
  await run('rm', ['-r', work]);
}

/**
 * Packs the tree `rootfs` of `dir` to `rootfs.squashfs` and removes the tree. zstd: the format that unpacks fastest here, on
 * every storage driver.
 */
export async function packRootfs(dir: string, extra: readonly string[] = []): Promise<void> {
  const [tree, file] = [path.join(dir, 'rootfs'), path.join(dir, 'rootfs.squashfs')];
  const zstd = ['-comp', 'zstd', '-Xcompression-level', '3'];
  await run('mksquashfs', [tree, file, '-noappend', '-quiet', '-no-progress', ...zstd, ...extra], {
    timeoutMs: 600_000,
  });
  await run('rm', ['-r', tree]);
}
