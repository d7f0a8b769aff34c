/** Unpacks a squashfs root file system. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { badRequest } from '#protocol/errors.ts';
import { type Exec, ExecError } from '../../system/exec.ts';
import { unpackError, WITHOUT_MKNOD } from './tar-unpack.ts';

/** A full Debian unpacks in a second; a very slow disk may take this long. */
const TIMEOUT_MS = 30 * 60_000;

const LINE =
  /^([-dlpscb])[-rwxsStT]{9} \d+\/\d+ +(?:\d+|\d+, *\d+) \d{4}-\d{2}-\d{2} \d{2}:\d{2} squashfs-root(?:\/(.*))?$/;

/**
 * Reads `unsquashfs -lln` and returns the names of the device nodes. Throws `bad_request` for a line it does not know: a
 * name with a line break must not hide a device.
 */
export function parseDeviceNames(listing: string): string[] {
  const devices: string[] = [];
  for (const line of listing.split('\n')) {
    if (line === '') continue;
    const match = LINE.exec(line);
    if (match === null) throw badRequest('Invalid image archive: malformed name in the root file system');
    if (match[1] !== 'c' && match[1] !== 'b') continue;
    const name = match[2] ?? '';
    if (!/^[\w.+:@-][\w.+:@/-]*$/.test(name)) throw badRequest('Invalid image archive: malformed device name');
    devices.push(name);
  }
  return devices;
}

/** True when all that went wrong is attributes that this file system cannot keep (zfs-fuse keeps none). */
export const isOnlyAttributes = (stderr: string) =>
  stderr.split('\n').every((line) => line.trim() === '' || /xattr|extended attribute/i.test(line));

/** Unpacks `path` into `directory`, which exists and is empty, without its device nodes. */
export async function unpackSquashfs(deps: { exec: Exec }, path: string, directory: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'longshore-squashfs-'));
  try {
    const listing = await deps.exec('unsquashfs', ['-lln', path], { timeoutMs: TIMEOUT_MS });
    const devices = parseDeviceNames(listing.stdout);
    const exclude: string[] = [];
    if (devices.length > 0) {
      await writeFile(join(scratch, 'devices'), devices.map((name) => `${name}\n`).join(''));
      exclude.push('-no-wildcards', '-exclude-file', join(scratch, 'devices'));
    }
    const [setpriv, ...options] = WITHOUT_MKNOD;
    const unpack = ['unsquashfs', '-force', '-no-progress', '-quiet', ...exclude, '-dest', directory, path];
    const result = await deps.exec(setpriv, [...options, ...unpack], { timeoutMs: TIMEOUT_MS, okExitCodes: [0, 2] });
    if (result.exitCode !== 0 && !isOnlyAttributes(result.stderr)) {
      throw new ExecError('unsquashfs', result.exitCode, result.stderr);
    }
  } catch (error) {
    throw unpackError(error);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
