/**
 * Field schemas that all request bodies share. Tolerant as LXD is: unknown fields are ignored, `null` reads as absent, and
 * a config value may be a string, number or boolean but is always kept as a string.
 */
import { z } from 'zod';

const Scalar = z.union([z.string(), z.number(), z.boolean()]).nullable();
type Scalar = z.infer<typeof Scalar>;

const asStrings = (map: Record<string, Scalar>): Record<string, string> =>
  Object.fromEntries(Object.entries(map).map(([key, value]) => [key, value === null ? '' : String(value)]));

const ConfigBody = z.record(z.string(), Scalar);
const DevicesBody = z.record(z.string(), ConfigBody.nullable());

export const text = () =>
  z
    .string()
    .nullish()
    .transform((value) => value ?? '');

export const flag = () =>
  z
    .boolean()
    .nullish()
    .transform((value) => value ?? false);

export const strings = () =>
  z
    .array(z.string())
    .nullish()
    .transform((value) => value ?? []);

/** Absent and `null` are the empty map; a `null` value is `''`. */
export const config = () => ConfigBody.nullish().transform((value) => asStrings(value ?? {}));

export const devices = () =>
  DevicesBody.nullish().transform((value) =>
    Object.fromEntries(Object.entries(value ?? {}).map(([name, device]) => [name, asStrings(device ?? {})])),
  );

/** In a PATCH absent means unchanged, so it stays apart from empty. */
export const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
