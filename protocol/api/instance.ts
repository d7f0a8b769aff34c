/**
 * Bodies of the instance endpoints (lxd-api 5.4, 6.2-6.4, 7.2). Tolerant as LXD is: unknown fields are ignored, `null` reads
 * as absent, and a config value may be a string, number or boolean. Rules beyond the shape live in `worker/domain`.
 */
import { z } from 'zod';

const Scalar = z.union([z.string(), z.number(), z.boolean()]).nullable();
const asText = (value: string | number | boolean | null) => (value === null ? '' : String(value));

const toConfig = (map: Record<string, string | number | boolean | null>) =>
  Object.fromEntries(Object.entries(map).map(([key, value]) => [key, asText(value)]));

const ConfigBody = z.record(z.string(), Scalar);
const DevicesBody = z.record(z.string(), ConfigBody.nullable());
type DevicesBody = z.infer<typeof DevicesBody>;
const toDevices = (map: DevicesBody) =>
  Object.fromEntries(Object.entries(map).map(([name, device]) => [name, toConfig(device ?? {})]));

const text = () =>
  z
    .string()
    .nullish()
    .transform((value) => value ?? '');
const flag = () =>
  z
    .boolean()
    .nullish()
    .transform((value) => value ?? false);
const integer = (fallback: number) =>
  z
    .number()
    .int()
    .nullish()
    .transform((value) => value ?? fallback);
const config = () => ConfigBody.nullish().transform((value) => toConfig(value ?? {}));
const devices = () => DevicesBody.nullish().transform((value) => toDevices(value ?? {}));

/** Where a new instance comes from. `type` may be absent: then an image is meant when one is named. */
export const InstanceSource = z.object({
  type: text(),
  mode: text(),
  fingerprint: text(),
  alias: text(),
  properties: config(),
  server: text(),
  protocol: text(),
  source: text(),
});
export type InstanceSource = z.infer<typeof InstanceSource>;

/** `POST /1.0/instances`. `profiles` null means the image's, `[]` none. */
export const InstancesPost = z
  .object({
    name: text(),
    type: text(),
    architecture: text(),
    description: text(),
    config: config(),
    devices: devices(),
    profiles: z
      .array(z.string())
      .nullish()
      .transform((value) => value ?? null),
    ephemeral: flag(),
    stateful: flag(),
    start: flag(),
    instance_type: text(),
    source: InstanceSource,
  })
  .meta({
    id: 'InstancesPost',
    description: 'A new instance',
    example: { name: 'web1', type: 'container', source: { type: 'image', alias: 'bb' } },
  });
export type InstancesPost = z.infer<typeof InstancesPost>;

/** `PUT /1.0/instances/<name>`: the whole writable object, or `restore` alone. */
export const InstancePut = z
  .object({
    architecture: text(),
    config: config(),
    devices: devices(),
    profiles: z
      .array(z.string())
      .nullish()
      .transform((value) => value ?? []),
    ephemeral: flag(),
    stateful: flag(),
    description: text(),
    restore: text(),
  })
  .meta({ id: 'InstancePut', description: 'The writable part of an instance' });
export type InstancePut = z.infer<typeof InstancePut>;

/** `PATCH /1.0/instances/<name>`: what is absent is kept; config and devices merge key by key. */
export const InstancePatch = z
  .object({
    architecture: z.string().nullish(),
    config: config(),
    devices: devices(),
    profiles: z.array(z.string()).nullish(),
    ephemeral: z.boolean().nullish(),
    stateful: z.boolean().nullish(),
    description: z.string().nullish(),
  })
  .meta({ id: 'InstancePatch', description: 'Changes of an instance' });
export type InstancePatch = z.infer<typeof InstancePatch>;

/** `POST /1.0/instances/<name>`: rename, or move. */
export const InstancePost = z
  .object({ name: text(), migration: flag(), live: flag(), pool: text(), project: text() })
  .meta({ id: 'InstancePost', description: 'A new name or place of an instance', example: { name: 'web2' } });
export type InstancePost = z.infer<typeof InstancePost>;

/** `PUT /1.0/instances/<name>/state`. `timeout` in seconds: -1 waits for ever, 0 is the default. */
export const InstanceStatePut = z
  .object({ action: text(), timeout: integer(0), force: flag(), stateful: flag() })
  .meta({ id: 'InstanceStatePut', description: 'A state change', example: { action: 'start', timeout: -1 } });
export type InstanceStatePut = z.infer<typeof InstanceStatePut>;

/** `PUT /1.0/instances`: the same for every instance of the project. */
export const InstancesPut = z
  .object({ state: InstanceStatePut.nullish().transform((value) => value ?? null) })
  .meta({ id: 'InstancesPut', description: 'A state change of all instances' });
export type InstancesPut = z.infer<typeof InstancesPut>;

/** `POST /1.0/instances/<name>/exec`. */
export const InstanceExecPost = z
  .object({
    command: z
      .array(z.string())
      .nullish()
      .transform((value) => value ?? []),
    'wait-for-websocket': flag(),
    interactive: flag(),
    environment: config(),
    width: integer(0),
    height: integer(0),
    'record-output': flag(),
    user: integer(0),
    group: integer(0),
    cwd: text(),
  })
  .meta({ id: 'InstanceExecPost', description: 'A program to run', example: { command: ['uname', '-a'] } });
export type InstanceExecPost = z.infer<typeof InstanceExecPost>;

export const InstanceConsolePost = z
  .object({ width: integer(0), height: integer(0), type: text() })
  .meta({ id: 'InstanceConsolePost', description: 'A look at the console', example: { width: 80, height: 24 } });
export type InstanceConsolePost = z.infer<typeof InstanceConsolePost>;
