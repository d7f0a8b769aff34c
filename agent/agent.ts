/** One running agent: the parts joined, started and stopped in order. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Command, InstanceSpec, PoolSpec } from '#protocol/commands.ts';
import { toWireError } from '#protocol/errors.ts';
import { execute } from './commands/executors.ts';
import type { Host } from './commands/host.ts';
import { createNames } from './commands/names.ts';
import { createPools } from './commands/pools.ts';
import { answerQuery } from './commands/queries.ts';
import { createSlots } from './commands/slots.ts';
import type { AgentConfig } from './config.ts';
import { createDispatcher } from './dispatcher.ts';
import type { FetchPart, ImageStore } from './drivers/image/driver.ts';
import type { InstanceDriver } from './drivers/instance/driver.ts';
import type { NetworkDriver } from './drivers/network/driver.ts';
import type { StorageDriver } from './drivers/storage/driver.ts';
import { readBoot, readBootId, restoreHost, restoreInstances } from './inventory/boot.ts';
import { createEventOutbox, type EventOutbox, unaskedEvent } from './inventory/event-outbox.ts';
import { createHostReader } from './inventory/host.ts';
import { createStateTeller } from './inventory/host-state.ts';
import { createLoadReader } from './inventory/load.ts';
import { createMetricsTeller } from './inventory/metrics.ts';
import { createReporter } from './inventory/reporter.ts';
import { watchResources } from './inventory/resources.ts';
import { instanceKey, type Outcome } from './journal/journal.ts';
import { openSqliteJournal } from './journal/sqlite.ts';
import { createKeptFiles, type KeptFiles } from './keep/files.ts';
import { readInventory } from './keep/inventory.ts';
import { createKeeper, type Keeper } from './keep/keeper.ts';
import { cleanUp, forgetWork } from './leave/clean-up.ts';
import type { WorkFrame } from './link/connection.ts';
import { openSocket } from './link/connection.ts';
import type { Trust } from './link/dial.ts';
import { nextEpoch } from './link/epoch.ts';
import { keyNameOf, publicKeyOf, readIdentity, signPayload } from './link/identity.ts';
import { createLink, type Link, type LinkRemoval } from './link/link.ts';
import { createPool } from './link/pool.ts';
import { createFetchBackup, createFetchPart, createFetchRelease, createSendInventory } from './link/request.ts';
import { createAlone } from './local/alone/index.ts';
import { createPerform } from './local/alone/perform.ts';
import { createReach } from './local/reach.ts';
import { startLocalServer } from './local/server.ts';
import type { Log } from './log.ts';
import { confirmRelease, isOnTrial } from './release/store.ts';
import { createContentStream } from './streams/content.ts';
import { createRelayStream } from './streams/relay.ts';
import { openAgentStream } from './streams/stream.ts';
import type { Exec } from './system/exec.ts';

/** Commands that work on the host at once: more only queue in the kernel. */
const SLOTS_PER_CORE = 2;
/** Two instances on their way keep a disk and a line busy. */
const DEPARTURES = 2;
/** A resumed command may need its image before the link is back. */
const FETCH_WAIT_MS = 60_000;
const STREAM_WAIT_MS = 5_000;
/** A file after the other goes over one connection; less than the patience of the front (75 s) and of middleboxes. */
const POOL_IDLE_MS = 30_000;
/** A new release that works is welcomed within a second. */
const TRIAL_MS = 30_000;

export interface Drivers {
  createStorage(pool: PoolSpec): StorageDriver;
  instances: InstanceDriver;
  networks: NetworkDriver;
  images: ImageStore;
}

export interface AgentDeps {
  log: Log;
  exec: Exec;
  createDrivers(fetchPart: FetchPart): Drivers;
  /** Keeps the member's new name for the next start. */
  keepName(member: string): void;
}

export interface Agent {
  /** Resolves when the control plane has said that the member was removed; the link is over then. */
  removed: Promise<LinkRemoval>;
  /** Drops what its cluster still waited for: a later membership must not go on with it. After `stop`. */
  forgetWork(): void;
  /** Takes away what was made for the cluster; answers what stays, a line each. After `stop`. */
  cleanUp(): Promise<string[]>;
  /** Instances go on running; unfinished commands are taken up by the next start. */
  stop(): Promise<void>;
}

/** Starts everything. Throws when the journal, the key or a socket cannot be opened; the control plane may be away. */
export async function startAgent(deps: AgentDeps, config: AgentConfig): Promise<Agent> {
  const { log } = deps;
  const identity = readIdentity(config.keyFile);
  const journal = openSqliteJournal(join(config.dataDir, 'agent.db'));
  const trust = { fingerprint: config.fingerprint };
  const managedNetworks = () => new Set(journal.networks.list().map((network) => network.name));
  const readResources = createHostReader({ exec: deps.exec, managedNetworks });

  const loadReader = createLoadReader();

  const link = createLink({
    server: config.server,
    fingerprint: config.fingerprint,
    member: config.member,
    epoch: nextEpoch(config.dataDir),
    protocol: config.protocol,
    bootId: await readBootId(),
    identity,
    signature: signPayload,
    publicKey: publicKeyOf(identity),
    describeHost: async () => {
      const [resources, load] = await Promise.all([resourceWatch.describe(), loadReader.read()]);
      return { resources, load };
    },
    keepName: deps.keepName,
    log,
  });
  const resourceWatch = watchResources({ read: readResources, send: link.send, log });
  const pool = createPool(trust, POOL_IDLE_MS);
  const files = createKeptFiles(config.dataDir);
  const session = async () => link.whenUp(FETCH_WAIT_MS);
  const keeper = createKeeper({ fetch: createFetchBackup({ trust, session }), files, log });
  const host = createHost(deps, { journal, link, trust, pool, dataDir: config.dataDir, kept: { files, keeper } });

  const outbox = createEventOutbox({ events: journal.events, send: link.send });
  /** Of what happens with a link, inventory tells. */
  const keepWithoutLink: EventOutbox['keep'] = (event) => {
    if (link.session() === null) outbox.keep(event);
  };
  const reporter = createReporter({
    host,
    onUnasked: (transition) => keepWithoutLink(unaskedEvent(transition)),
    send: link.send,
    isBusy: (ref) => dispatcher.isBusy(ref),
    readLoad: loadReader.read,
  });
  const figures = createStateTeller({ host, readLoad: loadReader.read, send: link.send });
  const metrics = createMetricsTeller({ host, send: link.send });
  const dispatcher = createDispatcher({
    journal,
    log,
    send: link.send,
    slots: SLOTS_PER_CORE * availableParallelism(),
    execute: (command, context) => execute(host, context, command),
    onFinished: (command, outcome) => {
      noteOutcome(reporter, command, outcome);
      keeper.noteFinished(command);
      if (command.name.startsWith('pool.')) figures.tell();
    },
  });
  const queries = (frame: Extract<WorkFrame, { type: 'query' }>) =>
    answerQuery(host, frame.name, frame.params).then(
      (result) => ({ ok: true as const, result }),
      (err: unknown) => {
        log.info('query.failed', { query: frame.name, err });
        return { ok: false as const, error: toWireError(err) };
      },
    );

  const reach = createReach(link);
  const alone = createAlone({
    host,
    member: config.member,
    resources: readResources,
    perform: createPerform({ dispatcher, touch: reporter.touch }),
    keepEvent: outbox.keep,
  });
  const local = await startLocalServer({ log, trust, reach, alone }, config.socketPaths, config.socketGroup);
  const names = createNames(host);
  let leave = (_removal: LinkRemoval) => {};
  const removed = new Promise<LinkRemoval>((resolve) => {
    leave = resolve;
  });
  reporter.start();
  link.start({
    onRemoved: leave,
    onWelcome: () => {
      confirmRelease(config.dataDir);
      reach.noteUp();
      alone.leave();
      dispatcher.resend();
      // What inventory says next is then no news.
      outbox.resend();
      figures.tell();
      keeper.note();
      reporter.reportAll().catch((err) => log.error('inventory.report.failed', { err }));
    },
    onLost: reach.noteDown,
    onFrame: (frame) => {
      if (frame.type === 'command') dispatcher.take(frame);
      else if (frame.type === 'cancel') dispatcher.cancel(frame.id);
      else if (frame.type === 'changed') keeper.note(true);
      else if (frame.type === 'result-ack') {
        dispatcher.acknowledge(frame.id);
        keeper.noteApplied(frame.id);
      } else if (frame.type === 'events-ack') outbox.acknowledge(frame.seq);
      else if (frame.type === 'names') names.take(frame);
      else if (frame.type === 'metrics') metrics.want(frame.seconds);
      else if (frame.type === 'query') {
        void queries(frame).then((outcome) => link.send({ type: 'answer', id: frame.id, outcome }));
      }
    },
  });
  endTrial(log, config.dataDir);
  void bringHostUp(host, dispatcher, keepWithoutLink).catch((err) => log.error('host.restore.failed', { err }));
  log.info('agent.started', { member: config.member, dataDir: config.dataDir, key: keyNameOf(identity) });

  return {
    removed,
    forgetWork: () => forgetWork(journal),
    cleanUp: () => cleanUp(host),
    stop: async () => {
      dispatcher.stop();
      reporter.stop();
      figures.stop();
      keeper.stop();
      metrics.stop();
      reach.stop();
      resourceWatch.stop();
      loadReader.stop();
      await Promise.all([link.stop(), local.close()]);
      pool.destroy();
      log.info('agent.stopped');
    },
  };
}

/** The host with its drivers; what needs the control plane waits a little for the link. */
export function createHost(
  deps: Pick<AgentDeps, 'log' | 'exec' | 'createDrivers'>,
  {
    journal,
    link,
    trust,
    pool,
    dataDir,
    kept = { files: createKeptFiles(dataDir), keeper: { isOutdated: () => false } },
  }: {
    journal: Host['journal'];
    link: Pick<Link, 'whenUp'>;
    trust: Trust;
    pool: ReturnType<typeof createPool>;
    dataDir: string;
    kept?: { files: KeptFiles; keeper: Pick<Keeper, 'isOutdated'> };
  },
): Host {
  const { log, exec } = deps;
  const drivers = deps.createDrivers(
    createFetchPart({ trust, session: (signal) => link.whenUp(FETCH_WAIT_MS, signal) }),
  );
  return {
    log,
    journal,
    pools: createPools({ journal, createStorage: drivers.createStorage }),
    instances: drivers.instances,
    networks: drivers.networks,
    images: drivers.images,
    openStream: async (id) => {
      const { address, token } = await link.whenUp(STREAM_WAIT_MS);
      const path = `/agent/stream/${encodeURIComponent(id)}`;
      return openAgentStream({ log }, openSocket(address, trust, path, { authorization: `Bearer ${token}` }));
    },
    openContent: (streamId) => createContentStream({ pool, session: () => link.whenUp(STREAM_WAIT_MS) }, streamId),
    openRelay: (streamId) => createRelayStream({ trust, session: () => link.whenUp(FETCH_WAIT_MS) }, streamId),
    departures: createSlots(DEPARTURES),
    release: {
      exec,
      dataDir,
      fetchRelease: createFetchRelease({ trust, session: (signal) => link.whenUp(FETCH_WAIT_MS, signal) }),
      restart: () => void process.kill(process.pid, 'SIGTERM'),
    },
    tellInventory: async () => {
      const { files, keeper } = kept;
      const parts = { journal, instances: drivers.instances };
      const inventory = await readInventory({ host: parts, files, isOutdated: keeper.isOutdated });
      await createSendInventory({ trust, session: () => link.whenUp(STREAM_WAIT_MS) })(inventory);
    },
  };
}

/** A release that nobody welcomes in time gives way: what starts the agent starts it again, the one before in the end. */
function endTrial(log: Log, dataDir: string): void {
  if (!isOnTrial(dataDir)) return;
  const timer = setTimeout(() => {
    if (!isOnTrial(dataDir)) return;
    log.error('agent.upgrade.unwelcome');
    process.exit(1);
  }, TRIAL_MS);
  timer.unref();
}

/** Commands wait until pools and networks are there; then unfinished ones go first, and the instances of a boot. */
async function bringHostUp(
  host: Host,
  dispatcher: ReturnType<typeof createDispatcher>,
  keep: EventOutbox['keep'],
): Promise<void> {
  await restoreHost(host);
  dispatcher.start();
  await restoreInstances(host, await readBoot(), async (spec, start) => {
    let hasStarted = false;
    await dispatcher.runLocal(startOf(spec), async () => {
      hasStarted = await start();
    });
    if (hasStarted) keep({ action: 'instance-started', project: spec.project, name: spec.name, status: 'Running' });
  });
}

/** The turn of a start at boot among the commands. */
const startOf = (spec: InstanceSpec): Command => ({
  id: `boot:${instanceKey(spec)}`,
  name: 'instance.state',
  params: { spec, action: 'start', timeoutSeconds: 0, force: false },
});

/** What a result tells counts as reported; after a failure the instance is looked at. */
function noteOutcome(reporter: ReturnType<typeof createReporter>, command: Command, outcome: Outcome): void {
  switch (command.name) {
    case 'instance.create':
    case 'instance.receive':
    case 'instance.state':
      // What still comes after a start is looked for because it was seen to start.
      if (outcome.ok) reporter.noteResult(outcome.result);
      else reporter.touch(command.params.spec);
      return;
    case 'instance.update':
    case 'instance.rename':
      // Looked at again even so: a NIC's addresses may have come since.
      reporter.touch(command.params.spec);
      if (outcome.ok) reporter.noteResult(outcome.result);
      return;
    case 'instance.send':
      reporter.touch(command.params.spec);
      return;
    case 'instance.delete':
      if (!outcome.ok) reporter.touch(command.params.ref);
      return;
    default:
      return;
  }
}
