/** `bin/control-plane`: a control plane for hosts elsewhere, in the foreground; systemd or a person ends it. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { startControlPlane } from './control-plane.ts';
import { parseEndpoint } from './port.ts';

const USAGE = `Usage: bin/control-plane --data DIR --listen HOST:PORT… [--address HOST:PORT…] [--trust FILE…] [--replicas N] [--log-level LEVEL]

Its data is cared for by "longshore backup", "restore", "promote" and "recover".

  --data DIR      where database, keys and image content are kept
  --listen ADDR   where to serve; several times for several addresses
  --address ADDR  what clients and hosts reach it under (default: the addresses listened on)
  --trust FILE    certificate (PEM) of a client to let in, for example ~/.config/lxc/client.crt
  --replicas N    keep N replicas of the database, and read from the first (default: 0)
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
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help || values.data === undefined || values.listen === undefined || !/^\d$/.test(values.replicas)) {
  process.stderr.write(USAGE);
  process.exit(values.help ? 0 : 2);
}
const { listen } = values;

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

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'EADDRINUSE')
    return `Cannot listen: ${error.message}. Another program is there.`;
  return error.message;
}
