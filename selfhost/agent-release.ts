/** Offers the agent's bundle to the cluster's members: its content under its hash, and a manifest that names it. */
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { inRepository } from './paths.ts';
import { writePrivate } from './private-file.ts';

/** Writes both below `blobsDir`, the manifest last and at once. Repeating it with the same program changes nothing. */
export async function publishAgent(blobsDir: string, program: string): Promise<void> {
  const content = await readFile(program);
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(inRepository('package.json'), 'utf8')));
  const sha256 = createHash('sha256').update(content).digest('hex');
  const folder = path.join(blobsDir, 'agent');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writePrivate(path.join(folder, `${sha256}.mjs`), content);
  const manifest = { version, protocol: PROTOCOL_VERSION, sha256, sizeBytes: content.length };
  await writePrivate(path.join(folder, 'release.json'), JSON.stringify(manifest));
}
