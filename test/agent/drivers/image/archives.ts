/** Image archives made on the spot, honest and hostile ones. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import type { ImageSource } from '#protocol/commands.ts';

export type Entry = Partial<Header> & { name: string; body?: string };

export const METADATA = `architecture: x86_64
creation_date: 1700000000
properties:
  os: Tiny
  release: 1.10
templates:
  /etc/hostname: {when: [create], template: hostname.tpl}
`;

export const file = (name: string, body = ''): Entry => ({ name, body });
export const directory = (name: string): Entry => ({ name, type: 'directory', mode: 0o755 });
export const symlink = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname });
export const hardlink = (name: string, linkname: string): Entry => ({ name, type: 'link', linkname });

/** What every unified image here begins with. */
export const GOOD: readonly Entry[] = [
  file('metadata.yaml', METADATA),
  directory('templates/'),
  file('templates/hostname.tpl', '{{ instance.name }}\n'),
  directory('rootfs/'),
  directory('rootfs/etc/'),
  file('rootfs/etc/hostname', 'tiny\n'),
  { name: 'rootfs/bin', body: 'x', mode: 0o4755, uid: 0, gid: 5 },
  symlink('rootfs/etc/link', '/etc/passwd'),
  hardlink('rootfs/etc/hard', 'rootfs/etc/hostname'),
];

/** A plain tar file. */
export async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const packer = pack();
  for (const { body, ...header } of entries) {
    if (body === undefined) packer.entry(header);
    else packer.entry(header, body);
  }
  packer.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of packer) {
    if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
  }
  return Buffer.concat(chunks);
}

export const tarGz = async (entries: readonly Entry[]) => gzipSync(await tar(entries));

type Parts = Partial<Record<'unified' | 'metadata' | 'rootfs', Buffer>>;

/** The description of an image made of these parts. */
export function describeImage(parts: Parts): ImageSource {
  const hash = createHash('sha256');
  const described: ImageSource['parts'] = [];
  for (const name of ['unified', 'metadata', 'rootfs'] as const) {
    const bytes = parts[name];
    if (bytes === undefined) continue;
    hash.update(bytes);
    described.push({ name, sizeBytes: bytes.length, filename: name });
  }
  return { fingerprint: hash.digest('hex'), parts: described };
}

/** Puts the parts where the store keeps downloaded images. */
export async function placeImage(dataDir: string, parts: Parts): Promise<ImageSource> {
  const image = describeImage(parts);
  const home = join(dataDir, 'images', image.fingerprint);
  await mkdir(home, { recursive: true });
  for (const [name, bytes] of Object.entries(parts)) await writeFile(join(home, name), bytes);
  return image;
}
