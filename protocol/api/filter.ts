/**
 * LXD's list filter (lxd-api 2.1): `[not] <field> eq|ne <value> [and|or …]`, from left to right. Works on any API object;
 * field names are JSON names joined by dots. Pure.
 */
import { badRequest } from '#protocol/errors.ts';
import { compileLinear } from '#protocol/linear-regex.ts';

interface Clause {
  join: 'and' | 'or';
  not: boolean;
  path: string[];
  equal: boolean;
  matches: (value: string) => boolean;
}

export type Filter = readonly Clause[];

/** Nobody types longer ones; bounds the work per object. */
const FILTER_LIMIT = 8192;
/** Longer values are compared as text. */
const SUBJECT_LIMIT = 1024;

/** Splits by white space; a part in double quotes is one token. */
function tokenize(text: string): string[] {
  const tokens: string[] = [];
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/gy;
  let at = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    tokens.push(match[1] === undefined ? (match[2] ?? '') : match[1].replace(/\\(["\\])/g, '$1'));
    at = pattern.lastIndex;
  }
  if (text.slice(at).trim() !== '') throw badRequest('Invalid filter: unbalanced quotes');
  return tokens;
}

/** A value is a pattern, anchored at both ends unless it says `^` or `$` itself; what is no pattern is compared as text. */
function matcher(value: string): (text: string) => boolean {
  const anchored = /[\^$]/.test(value) ? value : `^(?:${value})$`;
  const test = value.length > 512 ? null : compileLinear(anchored);
  if (test === null) return (text) => text === value;
  return (text) => (text.length > SUBJECT_LIMIT ? text === value : test(text));
}

/** Parses a filter; empty text matches everything. Throws `bad_request` for anything else that is not one. */
export function parseFilter(text: string): Filter {
  if (text.length > FILTER_LIMIT) throw badRequest('Invalid filter: too long');
  const tokens = tokenize(text);
  const clauses: Clause[] = [];
  let join: Clause['join'] = 'and';
  let at = 0;
  while (at < tokens.length) {
    const not = tokens[at]?.toLowerCase() === 'not';
    if (not) at++;
    const [field, operator, value] = tokens.slice(at, at + 3);
    if (field === undefined || operator === undefined || value === undefined)
      throw badRequest('Invalid filter: incomplete clause');
    if (operator !== 'eq' && operator !== 'ne') throw badRequest(`Invalid filter: unknown operator "${operator}"`);
    clauses.push({ join, not, path: field.split('.'), equal: operator === 'eq', matches: matcher(value) });
    at += 3;
    const next = tokens[at]?.toLowerCase();
    if (next === undefined) break;
    if (next !== 'and' && next !== 'or') throw badRequest(`Invalid filter: unknown logical operator "${next}"`);
    if (++at === tokens.length) throw badRequest(`Invalid filter: nothing after "${next}"`);
    join = next;
  }
  return clauses;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Follows a path; keys of maps may hold dots themselves (`config.user.x`). */
function valueAt(value: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return value;
  if (!isObject(value)) return undefined;
  for (let length = path.length; length > 0; length--) {
    const key = path.slice(0, length).join('.');
    if (!Object.hasOwn(value, key)) continue;
    const found = valueAt(value[key], path.slice(length));
    if (found !== undefined) return found;
  }
  return undefined;
}

function matchesValue(value: unknown, matches: Clause['matches']): boolean {
  if (typeof value === 'string') return matches(value);
  if (typeof value === 'number' || typeof value === 'boolean') return matches(String(value));
  return Array.isArray(value) && value.some((item) => matchesValue(item, matches));
}

/** Whether an API object passes. A field that the object lacks equals nothing. */
export function matchesFilter(filter: Filter, object: unknown): boolean {
  return filter.reduce((passed, clause) => {
    const equal = matchesValue(valueAt(object, clause.path), clause.matches);
    const result = (equal === clause.equal) !== clause.not;
    return clause.join === 'and' ? passed && result : passed || result;
  }, true);
}
