/** The stock client as a side: each call is a process of its own, as when a user types it. */
import { spawn } from 'node:child_process';
import { clientEnv } from '#selfhost/playground/client.ts';
import type { Side } from './pairs.ts';

/** A side that is reached by the client configuration in `conf`. Its clients end when `signal` aborts. */
export function stockClient(name: string, conf: string, signal: AbortSignal): Side {
  const env = { ...process.env, ...clientEnv(conf) };
  return {
    name,
    lxc: (args) =>
      new Promise((resolve, reject) => {
        const child = spawn('lxc', args, { env, signal, stdio: ['ignore', 'pipe', 'pipe'] });
        let stdout = '';
        let stderr = '';
        child.stdout.on('data', (chunk: Buffer) => {
          stdout += chunk.toString();
        });
        child.stderr.on('data', (chunk: Buffer) => {
          stderr += chunk.toString();
        });
        child.on('error', reject);
        child.on('close', (code) =>
          code === 0 ? resolve(stdout) : reject(new Error(`${name}: lxc ${args.join(' ')}: ${stderr.trim()}`)),
        );
      }),
  };
}
