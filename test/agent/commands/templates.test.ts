import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { renderTemplate, TemplateError } from '#agent/commands/template-render.ts';
import { applyTemplates } from '#agent/commands/templates.ts';
import { createFakeState } from '../fakes/drivers.ts';
import { createFakeHost } from '../fakes/host.ts';
import { instanceSpec } from '../fakes/specs.ts';

const context = {
  values: { 'instance.name': 'c1', trigger: 'create' },
  config: { 'user.meta-data': 'mine', empty: '' },
};

describe('renderTemplate', () => {
  it.each([
    ['{{ instance.name }}', 'c1'],
    ['{{instance.name}}!', 'c1!'],
    ['{{ unknown.name }}', ''],
    ['{{ config_get("user.meta-data", "x") }}', 'mine'],
    ['{{ config_get("nope", "default") }}', 'default'],
    ['{{ config_get("nope", instance.name) }}', 'c1'],
    ['{{ config_get("user.meta-data", "")|safe }}', 'mine'],
    ['{% if config_get("nope", "") == "" %}a{% else %}b{% endif %}', 'a'],
    ['{% if trigger != "create" %}a{% else %}b{% endif %}c', 'bc'],
    ['{% if "" %}a{% if trigger %}x{% else %}y{% endif %}{% endif %}z', 'z'],
    ['{# nothing #}text', 'text'],
  ])('%s', (template, expected) => {
    expect(renderTemplate(template, context)).toBe(expected);
  });

  it.each(['{% for x in y %}', '{{ evil() }}', '{% if a %}', '{% endif %}'])('refuses %s', (template) => {
    expect(() => renderTemplate(template, context)).toThrow(TemplateError);
  });
});

describe('applyTemplates', () => {
  let volume: string;
  const state = createFakeState();
  const host = createFakeHost(state);
  const apply = () => applyTemplates(host, instanceSpec(), volume, ['create']);
  const metadata = (template: string, path = '/etc/hostname') =>
    writeFileSync(
      join(volume, 'metadata.yaml'),
      JSON.stringify({ templates: { [path]: { when: ['create'], template } }, properties: { release: 12 } }),
    );

  beforeEach(() => {
    volume = mkdtempSync(join(tmpdir(), 'longshore-templates-'));
    mkdirSync(join(volume, 'rootfs'));
    mkdirSync(join(volume, 'templates'));
    writeFileSync(join(volume, 'templates/hostname.tpl'), '{{ instance.name }}-{{ properties.release }}\n');
  });
  afterEach(() => {
    rmSync(volume, { recursive: true });
    state.cleanup();
  });

  it('writes into the root file system, making the folders on the way', async () => {
    metadata('hostname.tpl');
    await apply();
    expect(readFileSync(join(volume, 'rootfs/etc/hostname'), 'utf8')).toBe('c1-12\n');
  });

  it('cannot be led out of the root file system by a symlink of the image', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'longshore-outside-'));
    symlinkSync(outside, join(volume, 'rootfs/etc'));
    metadata('hostname.tpl');
    await apply().catch(() => {});
    expect(() => readFileSync(join(outside, 'hostname'))).toThrow('ENOENT');
    rmSync(outside, { recursive: true });
  });

  it('cannot be made to read a file of the host', async () => {
    rmSync(join(volume, 'templates/hostname.tpl'));
    symlinkSync('/etc/passwd', join(volume, 'templates/hostname.tpl'));
    metadata('hostname.tpl');
    await apply();
    expect(() => readFileSync(join(volume, 'rootfs/etc/hostname'))).toThrow('ENOENT');
  });

  it('does nothing for an instance without an image', async () => {
    await expect(apply()).resolves.toBeUndefined();
  });
});
