/** `bin/control-plane`: a control plane for hosts elsewhere, in the foreground; systemd or a person ends it. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { backUp, restore } from './backup.ts';
import { startControlPlane } from './control-plane.ts';
import { parseEndpoint } from './port.ts';
import { promoteReplica } from './replication.ts';

const USAGE = `Usage: bin/control-plane --data DIR --listen HOST:PORT… [--address HOST:PORT…] [--trust FILE…] [--replicas N] [--log-level LEVEL]
       bin/control-plane --data DIR --backup FILE | --restore FILE | --promote N

  --data DIR      where database, keys and image content are kept
  --listen ADDR   where to serve; several times for several addresses
  --address ADDR  what clients and hosts reach it under (default: the addresses listened on)
  --trust FILE    certificate (PEM) of a client to let in, for example ~/.config/lxc/client.crt
  --replicas N    keep N replicas of the database, and read from the first (default: 0)

  --backup FILE   copy database and keys into a tar file, while it runs or not
  --restore FILE  put a backup into an empty data directory
  --promote N     while it is stopped: replica N becomes the database, the lost one is kept as db.lost
`;

// V8 counts the buffers of passing bodies as growth of its heap, which is small here: with the default it would look through
// all of it for every 10 MB that pass, at more than the cost of passing them.
setFlagsFromString('--heap-growing-percent=300');

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    listen: { type: 'string', multiple: true },
    address: { type: 'string', multiple: true },
    trust: { type: 'string', multiple: true },
    'log-level': { type: 'string' },
    replicas: { type: 'string', default: '0' },
    backup: { type: 'string' },
    restore: { type: 'string' },
    promote: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
const tasks = [values.backup, values.restore, values.promote].filter((task) => task !== undefined);
const isUsed = tasks.length === 0 ? values.listen !== undefined : tasks.length === 1;
const areNumbers = [values.replicas, values.promote ?? '0'].every((text) => /^\d$/.test(text));
if (values.help || values.data === undefined || !isUsed || !areNumbers) {
  process.stderr.write(USAGE);
  process.exit(values.help ? 0 : 2);
}
if (tasks.length > 0) {
  try {
    process.stdout.write(`${await maintain(values.data)}\n`);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${describe(error)}\n`);
    process.exit(1);
  }
}
const listen = values.listen ?? [];

try {
  const trust = await Promise.all(
    (values.trust ?? []).map(async (file) => ({ name: 'admin', certificate: await readFile(file, 'utf8') })),
  );
  const plane = await startControlPlane({
    dataDir: values.data,
    listen: listen.map(parseEndpoint),
    addresses: values.address ?? listen,
    replicas: Number(values.replicas),
    trust,
    ...(values['log-level'] === undefined ? {} : { logLevel: values['log-level'] }),
  });
  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    void plane.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.stdout.write(`ready ${plane.fingerprint}\n`);
} catch (error) {
  process.stderr.write(`${describe(error)}\n`);
  process.exit(1);
}

/** Does the one task that was asked for; resolves to what to say of it. */
async function maintain(dataDir: string): Promise<string> {
  const { backup, restore: from, promote } = values;
  if (backup !== undefined) {
    await backUp(dataDir, backup);
    return `Backed up to ${backup}. It holds keys: keep it where only you can read it.`;
  }
  if (from !== undefined) {
    await restore(dataDir, from);
    return `Restored to ${dataDir}. Start the control plane with the flags it had.`;
  }
  const newest = await promoteReplica(dataDir, Number(promote));
  return `Replica ${promote} is the database of the next start. Newest event: ${newest ?? 'none'}.`;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'EADDRINUSE')
    return `Cannot listen: ${error.message}. Another program is there.`;
  return error.message;
}
