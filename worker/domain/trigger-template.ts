/**
 * A trigger's template and its placeholders. Pure.
 *
 * Invariant: a payload reaches an instance only through declared parameters, each checked against its type and pattern, and
 * only in the fields that `fieldsOf` lists. What was put in is not looked at for placeholders again.
 */
import type { InstancesPost } from '#protocol/api/instance.ts';
import type { TriggerTemplate } from './trigger.ts';

/** Only what is written exactly so: `{{ v1.name }}` of a cloud-init template is left alone. */
const PLACEHOLDER = /\{\{([a-z][a-z0-9_]{0,31})\}\}/g;

/** Keys whose values may carry a placeholder: what programs in the instance read, and its size. Nothing that opens the host. */
const OPEN_KEY = /^(?:user|environment|cloud-init|limits)\./;

const placeholdersIn = (text: string): string[] => [...text.matchAll(PLACEHOLDER)].flatMap(([, name]) => name ?? []);

/** The fields where placeholders are filled in, and those where one is a mistake. */
function fieldsOf(template: TriggerTemplate): { open: string[]; closed: string[] } {
  const entries = Object.entries(template.config);
  return {
    open: [
      template.name,
      template.description,
      template.alias,
      ...entries.flatMap(([key, value]) => (OPEN_KEY.test(key) ? [value] : [])),
    ],
    closed: [
      template.fingerprint,
      template.target,
      ...(template.profiles ?? []),
      ...entries.flatMap(([key, value]) => (OPEN_KEY.test(key) ? [key] : [key, value])),
      ...Object.entries(template.devices).flatMap(([name, device]) => [name, ...Object.entries(device).flat()]),
    ],
  };
}

/** Every parameter that a launch needs, once. */
export const usedParameters = (template: TriggerTemplate): string[] => [
  ...new Set(fieldsOf(template).open.flatMap(placeholdersIn)),
];

/** The parameters that the instance's name is made of. */
export const nameParameters = (template: TriggerTemplate): string[] => [...new Set(placeholdersIn(template.name))];

/** Why the template does not go with these parameters, or null. */
export function checkPlaceholders(template: TriggerTemplate, declared: readonly string[]): string | null {
  const stray = fieldsOf(template).closed.find((text) => placeholdersIn(text).length > 0);
  if (stray !== undefined)
    return `"${stray.slice(0, 64)}" cannot have a placeholder: name, description, image alias and values of user.*, environment.*, cloud-init.* and limits.* can`;
  const unknown = usedParameters(template).find((name) => !declared.includes(name));
  return unknown === undefined ? null : `Parameter "${unknown}" is not declared`;
}

const fill = (text: string, values: Record<string, string>): string =>
  text.replace(PLACEHOLDER, (whole, name: string) => values[name] ?? whole);

export const fillName = (template: TriggerTemplate, values: Record<string, string>): string =>
  fill(template.name, values);

/** The request that creates the instance. It is started at once: nobody is there to do it later. */
export function fillTemplate(template: TriggerTemplate, values: Record<string, string>): InstancesPost {
  const config = Object.entries(template.config).map(([key, value]) => [
    key,
    OPEN_KEY.test(key) ? fill(value, values) : value,
  ]);
  return {
    name: fillName(template, values),
    type: 'container',
    architecture: '',
    description: fill(template.description, values),
    config: Object.fromEntries(config),
    devices: template.devices,
    profiles: template.profiles,
    ephemeral: template.ephemeral,
    stateful: false,
    start: true,
    instance_type: '',
    source: {
      type: 'image',
      mode: '',
      fingerprint: template.fingerprint,
      alias: fill(template.alias, values),
      properties: {},
      server: '',
      protocol: '',
      source: '',
    },
  };
}
