/** The agent's configuration: one YAML file, environment over it, defaults in the schema, unknown keys refused. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { PROTOCOL_VERSION } from '#protocol/version.ts';

export const DEFAULT_CONFIG_PATH = '/etc/longshore/agent.yaml';
export const DEFAULT_DATA_DIR = '/var/lib/longshore';
export const DEFAULT_RUN_DIR = '/run/longshore';

const Path = z.string().startsWith('/');

const AgentConfigFile = z.strictObject({
  /** Addresses of the control plane, tried in turn: `host:port`, `https://host`. */
  server: z.array(z.string().min(1)).min(1),
  /** SHA-256 of the control plane's certificate, lower-case hex; without it the system's trust store decides. */
  fingerprint: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  member: z.string().min(1),
  dataDir: Path.default(DEFAULT_DATA_DIR),
  runDir: Path.default(DEFAULT_RUN_DIR),
  logDir: Path.default('/var/log/longshore'),
  /** Ed25519 private key, PKCS#8 PEM; by default `agent.key` beside the configuration file. */
  keyFile: Path.optional(),
  /** Where stock clients find the API; by default only `<runDir>/unix.socket`. An empty list serves none. */
  socketPaths: z.array(Path).optional(),
  /** Group that may use the sockets; ignored when the host has no such group. */
  socketGroup: z.string().default('lxd'),
  /** Whether the host itself resolves instances' names; `none` leaves its resolver alone. */
  hostNames: z.enum(['auto', 'none']).default('auto'),
  /** What the agent speaks; an older one tries how the cluster gets on with it. */
  protocol: z.number().int().min(0).max(PROTOCOL_VERSION).default(PROTOCOL_VERSION),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type AgentConfig = Required<Omit<z.infer<typeof AgentConfigFile>, 'fingerprint'>> & {
  fingerprint: string | null;
};

/** What stands in the file: the join writes this. */
export type AgentConfigInput = z.input<typeof AgentConfigFile>;

/** The keys that the environment may set, over the file. */
const ENVIRONMENT = {
  LONGSHORE_DATA_DIR: 'dataDir',
  LONGSHORE_RUN_DIR: 'runDir',
  LONGSHORE_LOG_DIR: 'logDir',
  LONGSHORE_KEY_FILE: 'keyFile',
  LONGSHORE_SOCKET_GROUP: 'socketGroup',
  LONGSHORE_HOST_NAMES: 'hostNames',
  LONGSHORE_LOG_LEVEL: 'logLevel',
} as const;

/** A configuration that cannot be used; the message names the file and the key. */
export class ConfigError extends Error {}

/** Reads `path`; throws `ConfigError`. Example: `readConfig('/etc/longshore/agent.yaml', process.env)`. */
export function readConfig(path: string, env: Record<string, string | undefined>): AgentConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConfigError(`Cannot read ${path}: has this host joined a cluster?`, { cause });
  }
  return parseConfig(text, path, env);
}

/** The pure part of `readConfig`. */
export function parseConfig(text: string, path: string, env: Record<string, string | undefined>): AgentConfig {
  let document: unknown;
  try {
    document = parse(text);
  } catch (cause) {
    throw new ConfigError(`${path}: ${cause instanceof Error ? cause.message : 'not YAML'}`, { cause });
  }
  const overrides = Object.fromEntries(
    Object.entries(ENVIRONMENT).flatMap(([name, key]) => (env[name] ? [[key, env[name]]] : [])),
  );
  const given = typeof document === 'object' && document !== null ? document : {};
  const parsed = AgentConfigFile.safeParse({ ...given, ...overrides });
  if (!parsed.success) throw new ConfigError(describe(path, parsed.error));
  const config = parsed.data;
  return {
    ...config,
    fingerprint: config.fingerprint ?? null,
    keyFile: config.keyFile ?? join(path, '..', 'agent.key'),
    socketPaths: config.socketPaths ?? [join(config.runDir, 'unix.socket')],
  };
}

function describe(path: string, error: z.ZodError): string {
  const lines = error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') return `unknown key "${issue.keys.join('", "')}"`;
    return `${issue.path.join('.')}: ${issue.message}`;
  });
  return `${path}: ${lines.join('; ')}`;
}
