/**
 * What says on the host that it is a member, and what says that it was one: `agent.yaml` and `agent.key` beside each other,
 * and `removed.json` in their place once the control plane has said that the member is gone. A later join writes new ones.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { type AgentConfig, parseConfig } from '../config.ts';
import { writeWhole } from '../join/files.ts';
import { publicKeyOf, readIdentity } from '../link/identity.ts';

/** Ends of the agent that a supervisor can tell apart. After the first it may start again, to look after what is there. */
export const EXIT_REMOVED = 78;
/** Nothing is left to run for. */
export const EXIT_LEFT = 79;

const RemovalRecord = z.object({
  /** For people: what the control plane said. */
  message: z.string(),
  /** Nothing was here: what was made for the cluster is taken away. */
  cleanUp: z.boolean(),
  /** The key of the member that was: with another one the host has joined again. */
  publicKey: z.string(),
  /** The text of `agent.yaml`, by which the host looks after what is still here. */
  config: z.string(),
});

export type Removal = Omit<z.infer<typeof RemovalRecord>, 'config'> & { config: AgentConfig };

const recordPath = (configPath: string) => join(dirname(configPath), 'removed.json');

/** The member's new name in the configuration; everything else in the file stays as it is, comments too. */
export function keepName(configPath: string, member: string): void {
  const document = parseDocument(readFileSync(configPath, 'utf8'));
  document.set('member', member);
  writeWhole(configPath, String(document), 0o600);
}

/** Ends the membership on disk: the record first, so that a crash in between is finished at the next start. */
export function endMembership(
  configPath: string,
  config: AgentConfig,
  { message, cleanUp }: Pick<Removal, 'message' | 'cleanUp'>,
): void {
  const publicKey = publicKeyOf(readIdentity(config.keyFile));
  const record = { message, cleanUp, publicKey, config: readFileSync(configPath, 'utf8') };
  writeWhole(recordPath(configPath), JSON.stringify(record), 0o600);
  dropIdentity(configPath, config);
}

function dropIdentity(configPath: string, config: AgentConfig): void {
  for (const path of [config.keyFile, configPath]) rmSync(path, { force: true });
}

/**
 * The removal that this host is still in, or null. One that was cut off is finished; one before a new join is forgotten.
 * A record that cannot be read throws: nobody knows what may run here.
 */
export function findRemoval(configPath: string, env: Record<string, string | undefined>): Removal | null {
  const path = recordPath(configPath);
  if (!existsSync(path)) return null;
  const { config, ...rest } = RemovalRecord.parse(JSON.parse(readFileSync(path, 'utf8')));
  const record = { ...rest, config: parseConfig(config, configPath, env) };
  if (hasJoinedAgain(configPath, record)) {
    rmSync(path, { force: true });
    return null;
  }
  if (existsSync(configPath)) dropIdentity(configPath, record.config);
  return record;
}

/** True when there is a membership with another key than the one that was removed. */
export function hasJoinedAgain(configPath: string, record: Removal): boolean {
  // The configuration is the last thing that a join writes.
  if (!existsSync(configPath)) return false;
  const { keyFile } = record.config;
  return existsSync(keyFile) && publicKeyOf(readIdentity(keyFile)) !== record.publicKey;
}

/** The host is a plain one again. */
export const forgetRemoval = (configPath: string): void => rmSync(recordPath(configPath), { force: true });
