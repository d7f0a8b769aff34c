/** A control plane without members, and bare hosts beside it: where clusters are formed. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { spawn } from '@lydell/node-pty';
import { lxc } from '#selfhost/playground/client.ts';
import {
  ensureBareHost,
  getHost,
  startHostAgent,
  startPlayground,
  stopPlayground,
} from '#selfhost/playground/cluster.ts';
import { enterCommand, execInHost, hostEnv } from '#selfhost/playground/host.ts';
import { controlAddressOf } from '#selfhost/playground/network.ts';
import { silentReport } from '#selfhost/playground/progress.ts';
import { findFreePort } from '#selfhost/port.ts';
import type { RunOptions, RunResult } from '#selfhost/run.ts';

/** What is expected on the screen, and what is typed then. */
export type Dialogue = readonly (readonly [expected: string | RegExp, typed: string])[];

export interface EmptyCluster {
  /** Where hosts find the control plane. */
  address: string;
  /** The control plane's certificate, PEM. */
  certificate: string;
  /** The right to be the first member. */
  bootstrapToken(): string;
  /** The stock client of the control plane's administrator. */
  lxc(...args: string[]): Promise<RunResult>;
  boot(number: number): Promise<void>;
  exec(number: number, argv: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** `longshore …` on the host; any exit code is an answer. */
  longshore(number: number, argv: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** A program on a terminal of the host, typed into. Resolves to all that was on the screen, and the exit code. */
  type(number: number, argv: readonly string[], dialogue: Dialogue): Promise<{ screen: string; code: number }>;
  /** The program's file and first argument, for command lines that are not `longshore`'s own. */
  program: readonly [string, string];
  /** Starts the agent of the host, member or not, as its service would be. */
  startAgent(number: number): void;
  stop(): Promise<void>;
}

/** Longer than any step of a dialogue takes, a pool on a busy machine among them. */
const PATIENCE_MS = 90_000;

export async function startEmptyCluster(): Promise<EmptyCluster> {
  const playground = await startPlayground({
    port: await findFreePort(),
    conf: (run) => path.join(run.dir, 'lxc-conf'),
    report: silentReport,
  });
  const program = [process.execPath, playground.program] as const;
  const exec = (number: number, argv: readonly string[], options?: RunOptions) =>
    execInHost(getHost(playground, number), argv, options);
  return {
    address: `${controlAddressOf(playground.net)}:8443`,
    certificate: playground.control.certificate,
    bootstrapToken: () => readFileSync(path.join(playground.run.dir, 'control/bootstrap.token'), 'utf8').trim(),
    lxc: (...args) => lxc(playground.client, args),
    boot: async (number) => void (await ensureBareHost(playground, number)),
    exec,
    longshore: (number, argv, options) => exec(number, [...program, ...argv], options),
    type: (number, argv, dialogue) => {
      const { file, args } = enterCommand(getHost(playground, number), argv);
      return typeInto(file, args, dialogue);
    },
    program,
    startAgent: (number) => startHostAgent(playground, number),
    stop: () => stopPlayground(playground),
  };
}

function typeInto(file: string, args: string[], dialogue: Dialogue): Promise<{ screen: string; code: number }> {
  return new Promise((resolve, reject) => {
    const terminal = spawn(file, args, { cols: 200, rows: 50, env: { ...hostEnv(), TERM: 'xterm' } });
    let screen = '';
    let seen = 0;
    let turn = 0;
    const limit = setTimeout(() => {
      terminal.kill('SIGKILL');
      reject(new Error(`Waited for ${String(dialogue[turn]?.[0] ?? 'the end')} on the screen:\n${screen}`));
    }, PATIENCE_MS);
    const look = () => {
      for (;;) {
        const next = dialogue[turn];
        if (next === undefined) return;
        const rest = screen.slice(seen);
        const at = typeof next[0] === 'string' ? rest.indexOf(next[0]) : rest.search(next[0]);
        if (at === -1) return;
        seen += at + (typeof next[0] === 'string' ? next[0].length : (next[0].exec(rest)?.[0].length ?? 0));
        turn += 1;
        terminal.write(`${next[1]}\r`);
      }
    };
    terminal.onData((data) => {
      screen += data;
      look();
    });
    terminal.onExit(({ exitCode }) => {
      clearTimeout(limit);
      if (turn < dialogue.length && exitCode === 0) {
        reject(new Error(`Ended before ${String(dialogue[turn]?.[0])}:\n${screen}`));
      } else resolve({ screen, code: exitCode });
    });
  });
}
