/**
 * Which entries of an image archive may be unpacked as root on a host.
 *
 * Nothing may name a place outside the directory, neither by itself nor through a link that came before it; device nodes are
 * left out; and what the agent itself reads later (`metadata.yaml`, `templates/`) is plain files, so that it is never led
 * elsewhere.
 */
import { type AppError, badRequest } from '#protocol/errors.ts';
import type { TarEntry } from './tar-reader.ts';

/** `image`: metadata.yaml, templates/ and rootfs/. `rootfs`: the tree itself, without a prefix. */
export type ArchiveLayout = 'image' | 'rootfs';

/** Throws `bad_request` for an entry that makes the archive unacceptable. */
export type Judge = (entry: TarEntry) => 'keep' | 'drop';

/** Names of links are remembered while the archive is read; this many bytes are more than any real system has. */
const REMEMBERED_LIMIT = 64 * 1024 * 1024;

const refuse = (entry: TarEntry, why: string): AppError =>
  badRequest(`Invalid image archive: entry ${JSON.stringify(entry.name.slice(0, 200))} ${why}`);

/** The name without `./`, doubled and trailing slashes; '' for the directory itself, null for one that may leave it. */
export function normalizeName(name: string): string | null {
  if (name.startsWith('/')) return null;
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  return parts.includes('..') ? null : parts.join('/');
}

function checkLayout(entry: TarEntry, name: string): void {
  const [top, ...rest] = name.split('/');
  if (top === 'metadata.yaml' && rest.length === 0) {
    if (entry.type !== 'file') throw refuse(entry, 'is not a regular file');
  } else if (top === 'templates') {
    const fits = entry.type === 'directory' || (entry.type === 'file' && rest.length > 0);
    if (!fits) throw refuse(entry, 'is not a regular file');
  } else if (top === 'rootfs') {
    if (rest.length === 0 && entry.type !== 'directory') throw refuse(entry, 'is not a directory');
  } else {
    throw refuse(entry, 'does not belong in an image');
  }
}

/** A judge for one archive: it remembers the links it has seen. */
export function createJudge(layout: ArchiveLayout): Judge {
  const symlinks = new Set<string>();
  const devices = new Set<string>();
  let remembered = 0;

  const remember = (entry: TarEntry, names: Set<string>, name: string) => {
    remembered += name.length + 64;
    if (remembered > REMEMBERED_LIMIT) throw refuse(entry, 'is one link too many');
    names.add(name);
  };

  const passesSymlink = (name: string) => {
    for (let slash = name.indexOf('/'); slash !== -1; slash = name.indexOf('/', slash + 1)) {
      if (symlinks.has(name.slice(0, slash))) return true;
    }
    return false;
  };

  return (entry) => {
    const name = normalizeName(entry.name);
    if (name === null || normalizeName(entry.shortName) === null) throw refuse(entry, 'leaves the directory');
    if (name === '') {
      if (entry.type !== 'directory') throw refuse(entry, 'has no name');
      return 'drop';
    }
    if (layout === 'image') checkLayout(entry, name);
    if (passesSymlink(name)) throw refuse(entry, 'goes through a symbolic link');

    if (entry.type === 'device') {
      remember(entry, devices, name);
      return 'drop';
    }
    if (entry.type === 'symlink') remember(entry, symlinks, name);
    if (entry.type === 'hardlink') {
      const target = normalizeName(entry.linkName);
      if (target === null || target === '' || (layout === 'image' && !target.startsWith('rootfs/'))) {
        throw refuse(entry, 'links to a place outside');
      }
      if (passesSymlink(target)) throw refuse(entry, 'links through a symbolic link');
      if (devices.has(target)) {
        remember(entry, devices, name);
        return 'drop';
      }
      if (symlinks.has(target)) remember(entry, symlinks, name);
    }
    return 'keep';
  };
}
