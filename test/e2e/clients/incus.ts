/** The stock `incus` with a configuration folder of its own and the cluster as its default remote. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type RunOptions, type RunResult, run } from '#selfhost/run.ts';
import { lxc } from '../support.ts';

export interface Incus {
  /** Any exit code is an answer. */
  run(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Resolves to its output; throws its own words when it fails. */
  ok(...args: string[]): Promise<string>;
  /** The same, for output that is JSON. */
  json(...args: string[]): Promise<unknown>;
  /** File, arguments and environment, for what starts it in a way of its own. */
  command(args: readonly string[]): [string, string[], Record<string, string>];
  /** Takes away its folder and the trust in its certificate. */
  remove(): Promise<void>;
}

const REMOTE = 'cluster';
const program = resolve('bin/incus');

/** Logs in with a certificate of its own and a token, as people do. `name` is the client's in the trust store. */
export async function addIncusRemote(name: string): Promise<Incus> {
  const conf = await mkdtemp(join(tmpdir(), 'longshore-incus-'));
  const env = { INCUS_CONF: conf, INCUS_REMOTE: '', INCUS_PROJECT: '' };
  const start = (args: readonly string[], options: RunOptions = {}) =>
    run(program, args, { ...options, allowFailure: true, env: { ...env, ...options.env } });
  const ok = async (...args: string[]) => {
    const { stdout, stderr, code } = await start(args);
    if (code !== 0) throw new Error(`incus ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const remove = async () => {
    const trusted = JSON.parse((await lxc('config', 'trust', 'list', '--format', 'json')).stdout) as {
      name: string;
      fingerprint: string;
    }[];
    for (const { fingerprint } of trusted.filter((it) => it.name === name)) {
      await lxc('config', 'trust', 'remove', fingerprint);
    }
    await rm(conf, { recursive: true });
  };
  const token = (await lxc('config', 'trust', 'add', '--name', name, '--quiet')).stdout.trim().split('\n').at(-1) ?? '';
  await ok('remote', 'add', REMOTE, token, '--accept-certificate');
  await ok('remote', 'switch', REMOTE);
  return {
    run: start,
    ok,
    json: async (...args) => JSON.parse(await ok(...args)),
    command: (args) => [program, [...args], { ...env }],
    remove,
  };
}
