/** Values for a schema: such as it takes, and such with something wrong at any place. */
import fc, { type Arbitrary } from 'fast-check';
import { z } from 'zod';

interface JsonSchema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  maxLength?: number;
}

export interface Mood {
  /** False: nothing is wrong on purpose. */
  hostile: boolean;
}

const OWN = [
  'guarded',
  'other',
  'default',
  'local',
  'lxdbr0',
  'm1',
  'blog',
  'client',
  'container',
  'start',
  'a',
  'dir',
  'bridge',
];
const HOSTILE_STRINGS = [
  ...[
    '',
    '\0',
    'a\nb',
    'lxc.hook.start = /bin/sh',
    '../../etc/passwd',
    '/',
    '%s%n',
    "' or 1=1 --",
    '\ud800',
    '\u202e',
    '\ufeff',
  ],
  ...['__proto__', 'constructor', 'x'.repeat(300), 'é'.repeat(5_000), '-1', '1e999', 'NaN', '{{name}}', '$(id)', '💩'],
];
const HOSTILE_KEYS = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  '',
  '\0',
  'user.\n',
  'limits.memory',
  'raw.lxc',
  'x'.repeat(300),
];

/** What stands anywhere in the place of what was expected. */
const hostileValue: Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...HOSTILE_STRINGS),
  fc.constantFrom(null, true, 0, -1, 1.5, 2 ** 53, -(2 ** 63), 1e308, [], {}, [[[[]]]], { a: { b: { c: {} } } }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.jsonValue({ maxDepth: 3 }),
  fc.constant(null).map(() => JSON.parse('['.repeat(200) + ']'.repeat(200)) as unknown),
);

/** Throws for a schema that has no JSON form at all. */
export function arbitraryOf(schema: z.ZodType, mood: Mood = { hostile: true }): Arbitrary<unknown> {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', target: 'draft-2020-12' }) as JsonSchema;
  const valid = build(json, json, mood, 0);
  return mood.hostile ? fc.oneof({ weight: 20, arbitrary: valid }, { weight: 1, arbitrary: hostileValue }) : valid;
}

/** Deeper than any body of ours: a schema that contains itself ends here. */
const DEPTH_LIMIT = 8;

function build(schema: JsonSchema, root: JsonSchema, mood: Mood, depth: number): Arbitrary<unknown> {
  if (depth > DEPTH_LIMIT) return fc.constant(null);
  const below = (part: JsonSchema) => {
    const good = build(part, root, mood, depth + 1);
    return mood.hostile ? fc.oneof({ weight: 40, arbitrary: good }, { weight: 1, arbitrary: hostileValue }) : good;
  };
  if (schema.$ref !== undefined) return below(resolve(schema.$ref, root));
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map(below));
  if (schema.allOf !== undefined) {
    return below(Object.assign({}, ...schema.allOf));
  }
  const types = [schema.type ?? []].flat();
  const [type] = types;
  if (types.length > 1) return fc.oneof(...types.map((one) => build({ ...schema, type: one }, root, mood, depth)));
  switch (type) {
    case 'object':
      return buildObject(schema, below, mood);
    case 'array':
      if (schema.prefixItems !== undefined) return fc.tuple(...schema.prefixItems.map(below));
      return fc.array(schema.items === undefined ? hostileValue : below(schema.items), { maxLength: 4 });
    case 'string':
      return fc.oneof(fc.constantFrom(...OWN), fc.string({ maxLength: Math.min(schema.maxLength ?? 20, 20) }));
    case 'integer':
      return fc.oneof(fc.nat(10), fc.maxSafeInteger());
    case 'number':
      return fc.oneof(fc.nat(10), fc.double({ noNaN: true, noDefaultInfinity: true }));
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function buildObject(
  schema: JsonSchema,
  below: (part: JsonSchema) => Arbitrary<unknown>,
  mood: Mood,
): Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties } = schema;
  const fields = Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, below(part)]));
  // Now and then one that is required is missing.
  const always = mood.hostile
    ? fc.subarray(required, { minLength: Math.max(0, required.length - 1) })
    : fc.constant(required);
  const known = always.chain((requiredKeys) => fc.record(fields, { requiredKeys }));
  const values = typeof additionalProperties === 'object' ? below(additionalProperties) : hostileValue;
  const keys = fc.oneof(
    fc.constantFrom(...OWN, 'user.a', 'limits.cpu', 'root', 'eth0', 'type', 'path', 'pool'),
    fc.constantFrom(...HOSTILE_KEYS),
  );
  const more = fc.array(fc.tuple(keys, values), { maxLength: 3 });
  const wantsMore = typeof additionalProperties === 'object' || mood.hostile;
  // By entries: a key like `__proto__` has to be a key of the body.
  return wantsMore
    ? fc.tuple(known, more).map(([base, extra]) => Object.fromEntries([...Object.entries(base), ...extra]))
    : known;
}

function resolve(ref: string, root: JsonSchema): JsonSchema {
  if (ref === '#') return root;
  const name = ref.replace('#/$defs/', '');
  return root.$defs?.[name] ?? {};
}
