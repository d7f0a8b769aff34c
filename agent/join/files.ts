/** What a join leaves on the host: the key, the configuration, the systemd unit. Each is there whole or not at all. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import type { AgentConfigInput } from '../config.ts';

export interface JoinPaths {
  config: string;
  key: string;
  /** Of a join that has begun. */
  record: string;
}

export const joinPaths = (configDir: string): JoinPaths => ({
  config: join(configDir, 'agent.yaml'),
  key: join(configDir, 'agent.key'),
  record: join(configDir, 'join.json'),
});

/** Replaces the file at once. */
export function writeWhole(path: string, text: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const fd = openSync(`${path}.new`, 'w', mode);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${path}.new`, path);
}

/** The member this host is already, or null. An unreadable configuration counts as none: the join will replace it. */
export function findJoinedMember(path: string): string | null {
  if (!existsSync(path)) return null;
  try {
    return z.looseObject({ member: z.string() }).parse(parse(readFileSync(path, 'utf8'))).member;
  } catch {
    return null;
  }
}

/** The configuration with a line on top that says where it comes from. */
export const renderConfig = (config: AgentConfigInput) => `# Written by "longshore join".\n${stringify(config)}`;

export const UNIT_PATH = '/etc/systemd/system/longshore-agent.service';

/** Containers survive the agent: only its own process is ended, and their monitors sit in groups of their own. */
export const renderUnit = (launcher: string, configPath: string) => `[Unit]
Description=Longshore agent
Documentation=man:lxc(7)
After=network-online.target zfs.target
Wants=network-online.target

[Service]
ExecStart=${launcher} agent --config ${configPath}
Restart=always
RestartSec=1
RestartPreventExitStatus=79
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`;
