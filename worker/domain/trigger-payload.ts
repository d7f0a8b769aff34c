/** Looking into a delivery: JSON pointers, conditions, and the values of parameters. Pure. */

import { compileLinear } from '#protocol/linear-regex.ts';
import { hasLineBreak } from '#protocol/names.ts';
import type { TriggerCondition, TriggerParameter, TriggerParameters } from './trigger.ts';

export interface Delivery {
  /** By lower-case name; null when absent. */
  header: (name: string) => string | null;
  payload: unknown;
}

/** RFC 6901: empty, or each part after a slash; `~` only as `~0` and `~1`. */
export const isPointer = (text: string): boolean => text.length <= 512 && /^(?:\/(?:[^~/]|~[01])*)*$/.test(text);

/** What is at the pointer; undefined when nothing is. Only a payload's own members count, never what objects inherit. */
export function lookUp(payload: unknown, pointer: string): unknown {
  let value = payload;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(value)) value = /^(?:0|[1-9]\d{0,8})$/.test(key) ? value[Number(key)] : undefined;
    else if (typeof value === 'object' && value !== null && Object.hasOwn(value, key))
      value = (value as Record<string, unknown>)[key];
    else return undefined;
  }
  return value;
}

/** True when the pattern matches the whole text, upper and lower case apart. Line breaks and NUL never match. */
export function matchesWhole(pattern: string, text: string): boolean {
  const test = compileLinear(`^(?:${pattern})$`, { matchCase: true });
  return test !== null && !hasLineBreak(text) && test(text);
}

/** Longer texts are not worth a look: nothing that a condition or parameter names is as long. */
const TEXT_LIMIT = 4096;

function holds(condition: TriggerCondition, { header, payload }: Delivery): boolean {
  const value = condition.header === undefined ? lookUp(payload, condition.pointer ?? '') : header(condition.header);
  if (value === undefined || value === null) return false;
  if (condition.equals !== undefined) return value === condition.equals;
  if (condition.in !== undefined) return condition.in.some((wanted) => wanted === value);
  if (condition.contains !== undefined) return Array.isArray(value) && value.includes(condition.contains);
  if (condition.pattern === undefined || typeof value !== 'string' || value.length > TEXT_LIMIT) return false;
  return matchesWhole(condition.pattern, value);
}

/** True when every condition holds. A value that is absent fails each test. */
export const matchesAll = (conditions: readonly TriggerCondition[], delivery: Delivery): boolean =>
  conditions.every((condition) => holds(condition, delivery));

/** The values of these parameters as text, or why the payload does not fit: the first refusal, by the parameter's name. */
export function readParameters(
  parameters: TriggerParameters,
  names: readonly string[],
  payload: unknown,
): { ok: true; values: Record<string, string> } | { ok: false; reason: string } {
  const values: Record<string, string> = {};
  for (const name of names) {
    const parameter = parameters[name];
    if (parameter === undefined) return { ok: false, reason: `Parameter "${name}" is not declared` };
    const found = lookUp(payload, parameter.pointer);
    const value = found === undefined || found === null ? parameter.fallback : readValue(parameter, found);
    if (value === null) return { ok: false, reason: `Parameter "${name}": ${describeMisfit(parameter, found)}` };
    values[name] = value;
  }
  return { ok: true, values };
}

function readValue({ type, pattern, maximum }: TriggerParameter, value: unknown): string | null {
  switch (type) {
    case 'boolean':
      return typeof value === 'boolean' ? String(value) : null;
    case 'integer':
      return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= maximum ? String(value) : null;
    case 'string':
      return typeof value === 'string' && value.length <= maximum && matchesWhole(pattern, value) ? value : null;
  }
}

/** Never shows the value: refusals are recorded and shown. */
function describeMisfit({ pointer, type }: TriggerParameter, value: unknown): string {
  if (value === undefined || value === null) return `the payload has nothing at "${pointer}"`;
  return type === 'string'
    ? `the value at "${pointer}" is no string that fits its pattern and length`
    : `the value at "${pointer}" is no ${type} in its bounds`;
}
