/**
 * `longshore recover`: a control plane whose database is lost asks the hosts who they are and what they have. Nobody is taken
 * in unseen: the operator confirms the list. It may be run again, for hosts that were away or that it was cut off from.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { confirm, isCancel } from '@clack/prompts';
import type { RecoveredHost, RecoveryAnswer } from '#protocol/backup.ts';
import { BOOTSTRAP_FILE } from './bootstrap.ts';
import { createOperator, type Operator } from './operator.ts';

/** Hosts of an empty control plane come every 10 s at the latest. */
const SETTLED_MS = 15_000;
/** Those that a control plane with members has refused come once a minute. */
const SETTLED_LATER_MS = 65_000;
/** Hosts of which none came by then are not on their way. */
const FIRST_LIMIT_MS = 120_000;
const LOOK_MS = 500;
/** Admitted hosts come within seconds, and tell what they have at once. */
const TAKE_LIMIT_MS = 60_000;
const WINDOW_MINUTES = 60;

export interface RecoverOptions {
  dataDir: string;
  /** Exactly these; null: whoever comes. */
  hosts: readonly string[] | null;
  /** How long nobody else has to come; null: as long as hosts may take. */
  waitMs: number | null;
  yes: boolean;
  print(line: string): void;
}

/** Resolves to what to say at the end. Throws when nothing was taken in, or not all of it. */
export async function recover(options: RecoverOptions): Promise<string> {
  const operator = createOperator(options.dataDir);
  await operator.step({ action: 'open', minutes: WINDOW_MINUTES });
  try {
    const found = await gather(operator, options);
    if (found.length > 0) await admit(operator, found, options);
    return summarize(await takeAll(operator));
  } finally {
    await operator.step({ action: 'close' });
  }
}

const isNew = ({ state }: RecoveredHost) => state === 'found';

/** The hosts to take in, told as they come. None: those that were admitted before are all there are. */
async function gather(operator: Operator, { hosts, waitMs, dataDir, print }: RecoverOptions): Promise<RecoveredHost[]> {
  const { members } = await operator.status();
  const settledMs = waitMs ?? (members.length > 0 ? SETTLED_LATER_MS : SETTLED_MS);
  const wanted = hosts === null ? null : hosts.filter((name) => !members.includes(name));
  const hint = await rejoinHint(dataDir);
  if (hint !== null) print(hint);
  print('Waiting for hosts…');
  const startedMs = performance.now();
  let newsMs = startedMs;
  const told = new Set<string>();
  for (;;) {
    const found = (await operator.status()).hosts.filter(isNew);
    for (const host of found.filter(({ key }) => !told.has(key))) {
      print(describe(host));
      told.add(host.key);
      newsMs = performance.now();
    }
    const now = performance.now();
    if (wanted !== null) {
      const missing = wanted.filter((name) => !found.some((host) => host.name === name));
      if (missing.length === 0) return found.filter(({ name }) => wanted.includes(name));
      if (now - startedMs > (waitMs ?? FIRST_LIMIT_MS))
        throw new Error(`These hosts did not come: ${missing.join(', ')}`);
    } else {
      const mayBeNone = members.length > 0;
      if (now - newsMs > settledMs && (found.length > 0 || mayBeNone)) return found;
      if (now - startedMs > Math.max(FIRST_LIMIT_MS, settledMs) && found.length === 0)
        throw new Error('No host came: do they reach this control plane, and is its certificate the one they know?');
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Strangers may ask as well: nothing of what they say reaches the terminal as more than text. */
const describe = ({ name, key, addresses, os }: RecoveredHost) =>
  `  ${name}  ${os}  ${addresses.join(' ')}  key ${key}`.replace(/\p{Cc}/gu, '?');

/** What hosts are told when the control plane's keys are lost, too. */
async function rejoinHint(dataDir: string): Promise<string | null> {
  const text = await readFile(path.join(dataDir, BOOTSTRAP_FILE), 'utf8').catch(() => null);
  if (text === null) return null;
  const token: unknown = JSON.parse(Buffer.from(text.trim(), 'base64').toString('utf8'));
  if (typeof token !== 'object' || token === null) return null;
  // It says where, and whom to trust there; it is no right to anything.
  const where = Buffer.from(JSON.stringify({ ...token, secret: '0'.repeat(64) })).toString('base64');
  return `On hosts that do not know this control plane's address or certificate:\n  longshore rejoin ${where}`;
}

async function admit(operator: Operator, found: RecoveredHost[], { yes, print }: RecoverOptions): Promise<void> {
  const names = found.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`Two hosts say that they are "${twice}": stop the agent of the wrong one`);
  if (!yes) {
    if (!process.stdin.isTTY) throw new Error('Nobody to ask: look at the list above, then repeat it with --yes');
    const answer = await confirm({ message: `Make these ${found.length} hosts members again, with all they have?` });
    if (isCancel(answer) || !answer) throw new Error('Nothing was taken in');
  }
  await operator.step({ action: 'admit', hosts: found.map(({ name, key }) => ({ name, key })) });
  print(`Admitted: ${names.join(', ')}`);
}

/** All admitted hosts together when they come soon, else those that are there. */
async function takeAll(operator: Operator): Promise<RecoveryAnswer> {
  const deadline = performance.now() + TAKE_LIMIT_MS;
  for (;;) {
    const partial = performance.now() > deadline;
    const answer = await operator.step({ action: 'take', partial });
    if (answer.awaited.length === 0 || partial) return answer;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function summarize({ taken, notes, awaited }: RecoveryAnswer): string {
  const counts = Object.entries(taken).filter(([, count]) => count > 0);
  return [
    `Taken in: ${counts.map(([kind, count]) => `${count} ${kind}`).join(', ') || 'nothing new'}.`,
    ...notes.map((note) => `- ${note}`),
    ...(awaited.length > 0 ? [`- Not heard from yet: ${awaited.join(', ')}. Run this again when they are there.`] : []),
    'Lost with the database: trusted certificates, tokens and users, triggers and webhooks, warnings, and the history of',
    'operations and events. Trust clients again with "lxc config trust add" on a member.',
  ].join('\n');
}
