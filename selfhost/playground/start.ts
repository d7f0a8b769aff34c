/** `npm start`: the whole product on one machine, in the foreground. Ctrl-C removes everything it made. */
import { existsSync, rmSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { ensureDebian } from '../images/debian.ts';
import { ensureTiny } from '../images/tiny.ts';
import { inState } from '../paths.ts';
import { ensureBareHost, joinBareHost, type Playground, startPlayground, stopPlayground } from './cluster.ts';
import { createReport } from './progress.ts';
import { servePlayground } from './remote.ts';
import { createBridge, createPools, fillDefaultProfile, importImage } from './resources.ts';
import { sweepRuns } from './runs.ts';

const PORT = 8443;
const HOSTS = [1, 2, 3];

/** Files outside the run's own directory, for the user's shell. */
const FILES = { conf: inState('lxc-conf'), env: inState('env'), current: inState('current') };

const TRY_THIS = `
  Ready. In another shell:

    . .longshore/env                     point the stock lxc here
    lxc cluster list                     three hosts, on subnets of their own
    lxc launch tiny c1                   one lands on each host: c1, c2, c3
    lxc launch debian/12 d1              a real Debian with systemd
    lxc list
    lxc exec c1 -- ip -o a
    bin/playground exec 2 lxc list       from inside a host
    bin/playground cut 3                 unplug one; heal 3 plugs it in again

  Ctrl-C here removes all of it.
`;

const { values } = parseArgs({
  options: { port: { type: 'string', default: String(PORT) }, replicas: { type: 'string', default: '0' } },
});
const print = (line: string) => process.stdout.write(`${line}\n`);
const report = createReport(print);
const started = performance.now();
let starting: Promise<Playground> | undefined;
let stopping: Promise<void> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void shutDown(0));

try {
  await main(Number(values.port));
} catch (error) {
  // The step that failed because we are going down anyway has nothing to say.
  if (stopping === undefined) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    await shutDown(1);
  }
}

async function main(port: number): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('npm start makes network namespaces and file systems: it needs root.');
  const swept = await sweepRuns();
  if (existsSync(FILES.current)) throw new Error('npm start runs already in this clone: see bin/playground status');
  await refuseTakenPort(port);
  if (swept > 0) print(`✓ Removed what ${swept === 1 ? 'an earlier start' : `${swept} earlier starts`} left behind`);
  // Made while the rest starts; the first time takes a minute.
  const images = Promise.all([
    report('Image tiny', ensureTiny),
    report('Image debian/12, from Debian’s packages (cached for the next time)', ensureDebian),
  ]);
  images.catch(() => {});
  starting = startPlayground({ port, conf: () => FILES.conf, report, replicas: Number(values.replicas) });
  const it = await starting;
  const server = await servePlayground(it);
  server.unref();
  await report('Three hosts on three subnets', () => Promise.all(HOSTS.map((number) => ensureBareHost(it, number))));
  await report('Hosts joined by token', () => Promise.all(HOSTS.map((number) => joinBareHost(it, number))));
  await Promise.all([
    report('Storage pools tank and default', () => createPools(it)),
    report('Bridge lxdbr0', () => createBridge(it)),
  ]);
  await fillDefaultProfile(it);
  const [tiny, debian] = await images;
  await report('Images imported', () =>
    Promise.all([importImage(it, tiny, 'tiny'), importImage(it, debian, 'debian/12')]),
  );
  await publish(it);
  print(TRY_THIS);
  print(`  Started in ${((performance.now() - started) / 1000).toFixed(1)} s. Logs: ${it.run.dir}`);
  // Until a signal comes.
  setInterval(() => {}, 2 ** 30);
}

/** Tells the user's shell and `bin/playground` where it is. */
async function publish(it: Playground): Promise<void> {
  const text = `export LXD_CONF='${FILES.conf}'\nunset LXC_REMOTE LXD_SOCKET LXD_DIR\n`;
  await mkdir(inState(), { recursive: true });
  await writeFile(FILES.env, text);
  rmSync(FILES.current, { force: true });
  await symlink(it.run.dir, FILES.current);
}

function refuseTakenPort(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', () => {
      const advice = 'Stop it (another npm start? LXD itself?), or choose another port: npm start -- --port 9443';
      reject(new Error(`Another program listens on 127.0.0.1:${port}. ${advice}`));
    });
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve()));
  });
}

function shutDown(code: number): Promise<void> {
  stopping ??= (async () => {
    if (starting === undefined) process.exit(code);
    print('\n  Removing everything…');
    const start = performance.now();
    // Half-made is removed by whoever makes it: wait for that.
    const playground = await starting.catch(() => undefined);
    if (playground !== undefined) await stopPlayground(playground);
    for (const file of Object.values(FILES)) rmSync(file, { recursive: true, force: true });
    print(`✓ Gone (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    process.exit(code);
  })();
  return stopping;
}
