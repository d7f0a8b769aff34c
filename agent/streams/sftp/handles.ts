/** What one SFTP session has open. */
import { closeSync } from 'node:fs';
import { badRequest } from '#protocol/errors.ts';

/** Far more than a client needs at once; without a limit it could use up the agent's descriptors. */
const HANDLE_LIMIT = 256;

export interface FileHandle {
  type: 'file';
  path: string;
  fd: number;
}

export interface DirectoryHandle {
  type: 'directory';
  path: string;
  /** Names that were not read yet. */
  left: string[];
}

export type Handle = FileHandle | DirectoryHandle;

export interface Handles {
  readonly size: number;
  /** Opens and keeps; answers the name to call it by. Opens nothing and throws when too much is open. */
  add(open: () => Handle): string;
  /** Throws for a name of nothing, or of the other type. */
  file(name: string): FileHandle;
  directory(name: string): DirectoryHandle;
  /** Forgets it; closing is the caller's. */
  take(name: string): Handle;
  closeAll(): void;
}

export function createHandles(): Handles {
  const open = new Map<string, Handle>();
  let count = 0;
  const get = (name: string): Handle => {
    const handle = open.get(name);
    if (handle === undefined) throw badRequest('Invalid handle');
    return handle;
  };
  return {
    get size() {
      return open.size;
    },
    add: (openNow) => {
      if (open.size >= HANDLE_LIMIT) throw badRequest('Too many open files');
      const handle = openNow();
      count += 1;
      const name = String(count);
      open.set(name, handle);
      return name;
    },
    file: (name) => {
      const handle = get(name);
      if (handle.type !== 'file') throw badRequest('Not a file');
      return handle;
    },
    directory: (name) => {
      const handle = get(name);
      if (handle.type !== 'directory') throw badRequest('Not a directory');
      return handle;
    },
    take: (name) => {
      const handle = get(name);
      open.delete(name);
      return handle;
    },
    closeAll: () => {
      for (const handle of open.values()) if (handle.type === 'file') closeSync(handle.fd);
      open.clear();
    },
  };
}
