/** The image's templates, written into the instance's root file system. */
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { InstanceSpec } from '#protocol/commands.ts';
import { AppError } from '#protocol/errors.ts';
import type { InstanceRoot } from '../drivers/instance/driver.ts';
import { createFileInRoot, makeDirectoryInRoot, openFileInRoot, statInRoot } from '../drivers/instance/files.ts';
import type { Host } from './host.ts';
import { refOf } from './instances.ts';
import { renderTemplate, TemplateError } from './template-render.ts';

export type TemplateTrigger = 'create' | 'copy' | 'rename' | 'start';

const Metadata = z.object({
  properties: z.record(z.string(), z.coerce.string()).nullish(),
  templates: z
    .record(
      z.string(),
      z.object({
        when: z.array(z.string()).nullish(),
        template: z.string(),
        create_only: z.boolean().nullish(),
        properties: z.record(z.string(), z.coerce.string()).nullish(),
      }),
    )
    .nullish(),
});

/**
 * Writes every template of `<volumePath>/metadata.yaml` that is meant for one of the triggers into a stopped instance. Image
 * and root file system are hostile: both are only touched through functions that cannot leave them. A template that is not
 * understood is skipped and logged; a file that cannot be written is an error.
 */
export async function applyTemplates(
  host: Host,
  spec: InstanceSpec,
  volumePath: string,
  triggers: readonly TemplateTrigger[],
): Promise<void> {
  const volume = openVolume(volumePath);
  try {
    const metadata = readMetadata(host, volume);
    const due = Object.entries(metadata.templates ?? {}).filter(([, { when }]) =>
      triggers.some((trigger) => when?.includes(trigger)),
    );
    if (due.length === 0) return;
    const root = await host.instances.openRoot(refOf(spec), volumePath);
    try {
      for (const [path, template] of due) {
        const trigger = triggers.find((candidate) => template.when?.includes(candidate)) ?? 'create';
        if (template.create_only === true && exists(root, path)) continue;
        const properties = { ...metadata.properties, ...template.properties };
        const content = render(host, volume, spec, { path, trigger, template: template.template, properties });
        if (content !== null) write(root, path, content);
      }
    } finally {
      root.close();
    }
  } finally {
    volume.close();
  }
}

function render(
  host: Host,
  volume: InstanceRoot,
  spec: InstanceSpec,
  what: { path: string; trigger: string; template: string; properties: Record<string, string> },
): string | null {
  const { path, trigger, properties } = what;
  const flat = Object.entries(properties).map(([key, value]) => [`properties.${key}`, value]);
  const names = ['instance', 'container'].flatMap((prefix) => [
    [`${prefix}.name`, spec.name],
    [`${prefix}.architecture`, spec.architecture],
    [`${prefix}.privileged`, spec.expandedConfig['security.privileged'] ?? 'false'],
  ]);
  const values = Object.fromEntries([...flat, ...names, ['path', path], ['trigger', trigger]]);
  try {
    const text = readText(volume, posix.join('templates', posix.basename(what.template)));
    return renderTemplate(text, { values, config: spec.expandedConfig });
  } catch (error) {
    if (!(error instanceof TemplateError || (error instanceof AppError && error.code === 'not_found'))) throw error;
    host.log.warn('instance.template.skipped', { instance: spec.name, path, reason: error.message });
    return null;
  }
}

/** The image's own part of the volume, beside `rootfs`: owners are of no interest here. */
function openVolume(volumePath: string): InstanceRoot {
  const fd = openSync(join(volumePath), constants.O_RDONLY | constants.O_DIRECTORY);
  const same = (id: number) => id;
  return {
    fd,
    toHostUid: same,
    toHostGid: same,
    fromHostUid: same,
    fromHostGid: same,
    close: () => closeSync(fd),
  };
}

type Metadata = z.infer<typeof Metadata>;

/** An empty instance has no metadata. */
function readMetadata(host: Host, volume: InstanceRoot): Metadata {
  if (!exists(volume, 'metadata.yaml')) return {};
  return parseMetadata(host, readText(volume, 'metadata.yaml'));
}

/** Texts that were parsed, and to what: the instances of an image share one, and YAML takes milliseconds. */
const parsed = new WeakMap<Host, Map<string, Metadata>>();
/** As many images as are in use at a time, and no text that is out of the ordinary. */
const PARSED_LIMIT = 8;
const PARSED_TEXT_LIMIT = 64 * 1024;

function parseMetadata(host: Host, text: string): Metadata {
  const known = parsed.get(host) ?? new Map<string, Metadata>();
  parsed.set(host, known);
  const metadata = known.get(text) ?? Metadata.parse(parse(text) ?? {});
  if (known.size >= PARSED_LIMIT) known.clear();
  if (text.length <= PARSED_TEXT_LIMIT) known.set(text, metadata);
  return metadata;
}

function readText(root: InstanceRoot, path: string): string {
  const fd = openFileInRoot(root, path);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function exists(root: InstanceRoot, path: string): boolean {
  try {
    statInRoot(root, path);
    return true;
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return false;
    throw error;
  }
}

function write(root: InstanceRoot, path: string, content: string): void {
  const parents = posix.dirname(posix.join('/', path)).split('/').filter(Boolean);
  for (const [depth] of parents.entries()) {
    const parent = `/${parents.slice(0, depth + 1).join('/')}`;
    if (!exists(root, parent)) makeDirectoryInRoot(root, parent, { mode: 0o755, uid: 0, gid: 0 });
  }
  const { fd } = createFileInRoot(root, path, { mode: 0o644 });
  try {
    writeFileSync(fd, content);
  } finally {
    closeSync(fd);
  }
}
