/** `longshore backup`, `restore`, `recover` and `promote`: the care of a control plane's data, on its own machine. */
import { defineCommand, runMain } from 'citty';
import { backUp, restore } from './backup.ts';
import { recover } from './recover.ts';
import { promoteReplica } from './replication.ts';

/** Of the systemd unit. */
const DATA_DIR = '/var/lib/longshore-control';

const data = { type: 'string', description: 'Data directory of the control plane', default: DATA_DIR } as const;

async function reporting(work: () => Promise<string>): Promise<void> {
  try {
    process.stdout.write(`${await work()}\n`);
    // What is open still (a terminal, a pool) waits for nothing.
    process.exit(0);
  } catch (error) {
    process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}

const backupCommand = defineCommand({
  meta: { name: 'backup', description: 'Copy database and keys into a file, while the control plane runs or not' },
  args: { file: { type: 'positional', description: 'A compressed tar file', required: true }, data },
  run: ({ args }) =>
    reporting(async () => {
      await backUp(args.data, args.file);
      return `Backed up to ${args.file}. It holds keys: keep it where only you can read it.`;
    }),
});

const restoreCommand = defineCommand({
  meta: { name: 'restore', description: 'Put a backup into an empty data directory' },
  args: { file: { type: 'positional', description: 'What "longshore backup" wrote', required: true }, data },
  run: ({ args }) =>
    reporting(async () => {
      await restore(args.data, args.file);
      return `Restored to ${args.data}. Start the control plane with the flags it had.`;
    }),
});

const promoteCommand = defineCommand({
  meta: { name: 'promote', description: 'Make a replica the database of the next start; while it is stopped' },
  args: { replica: { type: 'positional', description: 'Number of the replica', required: true }, data },
  run: ({ args }) =>
    reporting(async () => {
      if (!/^[1-9]$/.test(args.replica)) throw new Error(`There is no replica "${args.replica}"`);
      const newest = await promoteReplica(args.data, Number(args.replica));
      return `Replica ${args.replica} is the database of the next start. Newest event: ${newest ?? 'none'}.`;
    }),
});

const recoverCommand = defineCommand({
  meta: { name: 'recover', description: 'Put the cluster together again from its hosts, when the database is lost' },
  args: {
    data,
    hosts: { type: 'string', description: 'Take in these, separated by commas, and wait for all of them' },
    wait: { type: 'string', description: 'How many seconds no further host has to come' },
    yes: { type: 'boolean', alias: 'y', description: 'Do not ask: take in every host that comes', default: false },
  },
  run: ({ args }) =>
    reporting(() => {
      if (args.wait !== undefined && !/^\d{1,4}$/.test(args.wait)) throw new Error(`Invalid time "${args.wait}"`);
      return recover({
        dataDir: args.data,
        hosts: args.hosts?.split(',') ?? null,
        waitMs: args.wait === undefined ? null : Number(args.wait) * 1000,
        yes: args.yes,
        print: (line) => process.stdout.write(`${line}\n`),
      });
    }),
});

await runMain(
  defineCommand({
    meta: { name: 'longshore', description: 'Care of the control plane’s data' },
    subCommands: {
      backup: backupCommand,
      restore: restoreCommand,
      promote: promoteCommand,
      recover: recoverCommand,
    },
  }),
);
