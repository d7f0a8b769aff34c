/** JSON schemas in a few words, as a reader of the API wants them. Pure. */
import { z } from 'zod';

/** As much of a JSON schema as ours use; anything else is passed over. */
export interface Schema {
  $ref?: string | undefined;
  type?: string | string[] | undefined;
  const?: unknown;
  enum?: unknown[] | undefined;
  description?: string | undefined;
  examples?: unknown[] | undefined;
  example?: unknown;
  items?: Schema | undefined;
  properties?: Record<string, Schema> | undefined;
  required?: string[] | undefined;
  additionalProperties?: boolean | Schema | undefined;
  anyOf?: Schema[] | undefined;
  oneOf?: Schema[] | undefined;
}

export const Schema: z.ZodType<Schema> = z.lazy(() =>
  z.object({
    $ref: z.string().optional(),
    type: z.union([z.string(), z.array(z.string())]).optional(),
    const: z.unknown().optional(),
    enum: z.array(z.unknown()).optional(),
    description: z.string().optional(),
    examples: z.array(z.unknown()).optional(),
    example: z.unknown().optional(),
    items: Schema.optional(),
    properties: z.record(z.string(), Schema).optional(),
    required: z.array(z.string()).optional(),
    additionalProperties: z.union([z.boolean(), Schema]).optional(),
    anyOf: z.array(Schema).optional(),
    oneOf: z.array(Schema).optional(),
  }),
);

/** `#/components/schemas/InstancePut` → `InstancePut`. */
export const nameOfRef = (ref: string): string => ref.split('/').at(-1) ?? ref;

/** `string`, `array of string`, `map of string or null`, `"sync"`, a schema's name. */
export function typeText(schema: Schema): string {
  if (schema.$ref !== undefined) return nameOfRef(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(typeText))].join(' or ');
  const types = [schema.type ?? 'anything'].flat();
  return types.map((type) => typeOf(type, schema)).join(' or ');
}

function typeOf(type: string, { items, properties, additionalProperties: more }: Schema): string {
  if (type === 'array') return `array of ${items === undefined ? 'anything' : typeText(items)}`;
  if (type !== 'object' || properties !== undefined) return type;
  return typeof more === 'object' ? `map of ${typeText(more)}` : type;
}
