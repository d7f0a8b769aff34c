/** `metadata.yaml` of an image: found in its tarball, bounded, and read without trusting it. */
import { parseDocument } from 'yaml';
import { z } from 'zod';
import type { CommandResult } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { readTar, type TarMember } from './tar-reader.ts';
import { normalizeName } from './tar-rules.ts';

const SIZE_LIMIT = 1024 * 1024;
/** Honest metadata uses no aliases; many of them are a bomb. */
const ALIAS_LIMIT = 10;

/** Every scalar is text in the failsafe schema, so that a release `1.10` stays one. */
const Seconds = z
  .string()
  .regex(/^\d{1,11}$/)
  .transform(Number);
const emptyMap = z.literal(['', '~', 'null']).transform((): Record<string, string> => ({}));

const Metadata = z.object({
  architecture: z.string().min(1).max(64),
  creation_date: Seconds,
  expiry_date: Seconds.optional(),
  properties: z.union([z.record(z.string(), z.string()), emptyMap]).optional(),
});

const toIso = (seconds: number) => new Date(seconds * 1000).toISOString();

/** Parses the text of a `metadata.yaml`; throws `bad_request` naming the first thing that is wrong. */
export function parseMetadata(text: string): CommandResult<'image.inspect'> {
  const document = parseDocument(text, { schema: 'failsafe', logLevel: 'silent' });
  const [problem] = document.errors;
  if (problem !== undefined) throw badRequest('Could not parse metadata.yaml: malformed YAML', problem);
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: ALIAS_LIMIT });
  } catch (error) {
    throw badRequest('Could not parse metadata.yaml: too many aliases', error);
  }
  const parsed = Metadata.safeParse(content);
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path.join('.') || 'the document';
    throw badRequest(`Could not parse metadata.yaml: bad or missing ${path}`, parsed.error);
  }
  const { architecture, creation_date, expiry_date, properties } = parsed.data;
  if (creation_date === 0) throw badRequest('Could not parse metadata.yaml: bad or missing creation_date');
  return {
    architecture,
    createdAt: toIso(creation_date),
    expiresAt: expiry_date ? toIso(expiry_date) : null,
    properties: properties ?? {},
  };
}

async function readBody(member: TarMember): Promise<string> {
  if (member.entry.type !== 'file') throw badRequest('Invalid image archive: metadata.yaml is not a regular file');
  if (member.entry.sizeBytes > SIZE_LIMIT) throw badRequest('Invalid image archive: metadata.yaml is too large');
  const chunks: Buffer[] = [];
  for await (const chunk of member.body()) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8', 0, member.entry.sizeBytes);
}

/** Reads the tar stream up to its `metadata.yaml`; throws `bad_request` when there is none to be had. */
export async function readMetadata(source: AsyncIterable<Buffer>): Promise<CommandResult<'image.inspect'>> {
  for await (const member of readTar(source)) {
    if (normalizeName(member.entry.name) === 'metadata.yaml') return parseMetadata(await readBody(member));
  }
  throw badRequest('Metadata tarball has no metadata.yaml');
}
