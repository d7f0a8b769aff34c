/** The stock `lxc` client with a configuration folder of its own, so that the user's stays as it is. */
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import { ensureClientCertificate } from '../certificate.ts';
import { type RunOptions, type RunResult, run } from '../run.ts';

export interface Client {
  /** `LXD_CONF`. */
  conf: string;
  certificateFile: string;
}

const REMOTE = 'longshore';

/** Makes the folder with a key pair; `connectClient` completes it. */
export async function createClient(conf: string): Promise<Client> {
  await mkdir(path.join(conf, 'servercerts'), { recursive: true, mode: 0o700 });
  const certificateFile = path.join(conf, 'client.crt');
  await ensureClientCertificate(
    { certificate: certificateFile, key: path.join(conf, 'client.key') },
    'root@playground',
  );
  return { conf, certificateFile };
}

/** Makes the control plane its default remote, and pins its certificate. */
export async function connectClient(client: Client, address: string, serverCertificate: string): Promise<void> {
  const remote = { addr: `https://${address}`, auth_type: 'tls', project: 'default', protocol: 'lxd', public: false };
  const config = { 'default-remote': REMOTE, remotes: { [REMOTE]: remote }, aliases: {} };
  await writeFile(path.join(client.conf, 'config.yml'), stringify(config));
  await writeFile(path.join(client.conf, 'servercerts', `${REMOTE}.crt`), serverCertificate);
}

/** Variables that point the stock client here. */
export const clientEnv = (conf: string): Record<string, string> => ({ LXD_CONF: conf, LXC_REMOTE: '' });

/** Runs `lxc`; any exit code is an answer. */
export const lxc = (client: Client, args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
  run('lxc', args, { ...options, allowFailure: true, env: { ...clientEnv(client.conf), ...options.env } });

/** Runs `lxc` and throws its own words when it fails. Resolves to its output. */
export async function lxcOk(client: Client, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await lxc(client, args, options);
  if (result.code !== 0) throw new Error(`lxc ${args.join(' ')}: ${(result.stderr || result.stdout).trim()}`);
  return result.stdout;
}

/** Starts `lxc` and leaves it running, its output to the caller. */
export const startLxc = (client: Client, args: readonly string[]) =>
  spawn('lxc', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...clientEnv(client.conf) } });
