/** What the end-to-end tests share: the stock client against the running cluster, names, waiting, tables. */
import { randomBytes } from 'node:crypto';
import { e2eCluster } from '#test/harness/cluster.ts';

export const cluster = e2eCluster();

export interface Ran {
  stdout: string;
  stderr: string;
  code: number;
}

/** Runs the stock `lxc` with the cluster as its default remote. */
export const lxc = (...args: string[]): Promise<Ran> => cluster.lxc(args);

/** The same, for output that is JSON; throws on a failure. */
export async function lxcJson(...args: string[]): Promise<unknown> {
  const { stdout, stderr, code } = await lxc(...args);
  if (code !== 0) throw new Error(`lxc ${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout);
}

export interface ApiInstance {
  name: string;
  status: string;
  location: string;
  config: Record<string, string>;
  expanded_config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
}

export async function instancesOf(names: string[]): Promise<ApiInstance[]> {
  const all = (await lxcJson('query', '/1.0/instances?recursion=1')) as ApiInstance[];
  return all.filter((instance) => names.includes(instance.name)).sort((a, b) => a.name.localeCompare(b.name));
}

/** Names that no other test uses. */
export function newNames(stem: string, count: number): string[] {
  const tag = randomBytes(3).toString('hex');
  return Array.from({ length: count }, (_, index) => `${stem}-${tag}-${index + 1}`);
}

export const newName = (stem: string): string => newNames(stem, 1)[0] ?? stem;

/** Those that are gone already are passed over: the client stops at the first name it does not know. */
export async function removeInstances(names: string[]): Promise<void> {
  const there = names.length > 0 ? (await instancesOf(names)).map(({ name }) => name) : [];
  if (there.length > 0) await lxc('delete', '--force', ...there);
}

/** Waits for a condition, not for time: asks again until `probe` answers something, at most `limitMs`. */
export async function waitFor<T>(what: string, probe: () => Promise<T | undefined>, limitMs = 60_000): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`Waited ${limitMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Takes `lxc`'s table apart. Cells that span lines are joined by a blank. */
export function table(text: string): { header: string[]; rows: string[][] } {
  const lines = text.split('\n').filter((line) => line.startsWith('|'));
  const rows: string[][] = [];
  for (const line of lines) {
    const cells = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    rows.push(cells);
  }
  const [header = [], ...rest] = rows;
  return { header, rows: rest };
}
