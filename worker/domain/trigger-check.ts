/** What a trigger may be: every refusal of a definition, before it is stored. Pure. */
import { compileLinear } from '#protocol/linear-regex.ts';
import type { TriggerCondition, TriggerLimits, TriggerParameters, TriggerRules, TriggerTemplate } from './trigger.ts';
import { isPointer } from './trigger-payload.ts';
import { checkPlaceholders, nameParameters } from './trigger-template.ts';

/** A day and a half of waiting for a redelivery is enough, and the record of launches outlives it by far. */
export const WINDOW_SECONDS = { minimum: 1, usual: 300, maximum: 129_600 } as const;

/** Values of parameters: enough for an URL, short enough for any field. */
export const STRING_MAXIMUM = 255;
const PARAMETER_COUNT = 32;
/** A year. */
const TTL_SECONDS_MAXIMUM = 366 * 86_400;

export interface TriggerDefinition {
  scheme: 'standard' | 'github';
  windowSeconds: number;
  timestampPointer: string;
  parameters: TriggerParameters;
  rules: TriggerRules;
  template: TriggerTemplate;
  limits: TriggerLimits;
}

/** The name is part of a path. */
export const checkTriggerName = (name: string): string | null =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name) ? null : `Invalid trigger name "${name.slice(0, 64)}"`;

/** The first refusal, or null. */
export function checkTrigger(trigger: TriggerDefinition): string | null {
  const { windowSeconds, timestampPointer, parameters, rules, template } = trigger;
  if (windowSeconds < WINDOW_SECONDS.minimum || windowSeconds > WINDOW_SECONDS.maximum)
    return `window_seconds must be between ${WINDOW_SECONDS.minimum} and ${WINDOW_SECONDS.maximum}`;
  if (!isPointer(timestampPointer)) return 'timestamp_pointer is no JSON pointer';
  if (timestampPointer !== '' && trigger.scheme === 'standard')
    return 'timestamp_pointer is for GitHub: Standard Webhooks signs a time of its own';
  if (template.alias === '' && template.fingerprint === '') return 'The instance needs a source alias or fingerprint';
  if (rules.delete.length > 0 && nameParameters(template).length === 0)
    return 'Conditions for delete need an instance name with a placeholder: it tells which instance is meant';
  return (
    checkParameters(parameters) ??
    checkConditions('launch', rules.launch) ??
    checkConditions('delete', rules.delete) ??
    checkPlaceholders(template, Object.keys(parameters)) ??
    checkLimits(trigger.limits)
  );
}

function checkParameters(parameters: TriggerParameters): string | null {
  const entries = Object.entries(parameters);
  if (entries.length > PARAMETER_COUNT) return `A trigger has at most ${PARAMETER_COUNT} parameters`;
  for (const [name, { pointer, type, pattern, maximum, fallback }] of entries) {
    const refuse = (why: string) => `Parameter "${name.slice(0, 64)}": ${why}`;
    if (!/^[a-z][a-z0-9_]{0,31}$/.test(name)) return refuse('names are lower-case letters, digits and underscores');
    if (pointer === '' || !isPointer(pointer)) return refuse('pointer must be a JSON pointer');
    if (type === 'string' && (pattern === '' || !isPattern(pattern))) return refuse(BAD_PATTERN);
    if (maximum < 0 || (type === 'string' && maximum > STRING_MAXIMUM))
      return refuse(`maximum must be between 0 and ${type === 'string' ? STRING_MAXIMUM : Number.MAX_SAFE_INTEGER}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused
    if (fallback !== null && (fallback.length > STRING_MAXIMUM || /[\u0000-\u001f\u007f]/.test(fallback)))
      return refuse('default is too long or has control characters');
  }
  return null;
}

const BAD_PATTERN =
  'pattern must be a regular expression of literals, classes, groups, | and repetitions, for the whole value';
/** By itself too: `a)|(b` would slip out of the anchors around it. */
const isPattern = (pattern: string) =>
  pattern.length <= 512 && compileLinear(pattern) !== null && compileLinear(`^(?:${pattern})$`) !== null;

function checkConditions(action: string, conditions: readonly TriggerCondition[]): string | null {
  for (const [index, condition] of conditions.entries()) {
    const refuse = (why: string) => `${action}.${index}: ${why}`;
    const { header, pointer, pattern } = condition;
    if ((header === undefined) === (pointer === undefined)) return refuse('needs a header or a pointer, and not both');
    if (header !== undefined && !/^[a-z0-9-]{1,64}$/.test(header)) return refuse('header is no name of a header');
    if (pointer !== undefined && !isPointer(pointer)) return refuse('pointer must be a JSON pointer');
    const tests = [condition.equals, condition.in, condition.contains, pattern].filter((test) => test !== undefined);
    if (tests.length !== 1) return refuse('needs exactly one of equals, in, contains and pattern');
    if (pattern !== undefined && !isPattern(pattern)) return refuse(BAD_PATTERN);
  }
  return null;
}

function checkLimits({ concurrency, perHour, ttlSeconds }: TriggerLimits): string | null {
  if (concurrency !== null && (concurrency < 1 || concurrency > 10_000))
    return 'limits.concurrency must be between 1 and 10000';
  if (perHour !== null && (perHour < 1 || perHour > 100_000)) return 'limits.per_hour must be between 1 and 100000';
  if (ttlSeconds !== null && (ttlSeconds < 1 || ttlSeconds > TTL_SECONDS_MAXIMUM))
    return 'limits.ttl must be an expiry of at least 1S and at most a year';
  return null;
}
