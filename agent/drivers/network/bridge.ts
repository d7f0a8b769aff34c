/**
 * Managed bridges of this host: link, dnsmasq, nftables and reservations, each ensured from the network's stored config.
 *
 * Invariants: the store is written before the host is touched, so a crash in between is finished by `restore`; changes of
 * networks run one after another; a reservation is decided and written without a pause, so no two NICs get one address.
 */
import { randomBytes } from 'node:crypto';
import type { NetworkSpec } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import type { Log } from '../../log.ts';
import type { Exec } from '../../system/exec.ts';
import { decideAddresses, needsChoice } from './auto.ts';
import { type BridgeConfig, readBridgeConfig } from './config.ts';
import { ensureDnsmasq, findDnsmasq, reloadDnsmasq, stopDnsmasq } from './dnsmasq.ts';
import type { NetworkDriver } from './driver.ts';
import { removeHostFiles, writeClusterNames, writeHostFiles } from './host-files.ts';
import type { HostNames } from './host-names.ts';
import { endLeases, joinLeases, readLeases, releaseLeases } from './leases.ts';
import { deleteBridge, ensureBridge, ensureRoutes, linkExists, notManaged, usedSubnets } from './links.ts';
import { entriesBeside, hostsText, nameEntries } from './names.ts';
import { applyRules, removeRules, renderRules } from './nft.ts';
import { checkedRequest, decide, toAttachment } from './reservations.ts';
import { networkState } from './state.ts';
import { createNetworkStore, type Reservation } from './store.ts';

export interface BridgeDeps {
  exec: Exec;
  dataDir: string;
  runDir: string;
  log: Log;
  /** The host's own resolver; without it names are for instances only. */
  hostNames?: HostNames;
}

/** The vendor prefix of LXD's generated addresses. */
const randomHwaddr = () =>
  `00:16:3e:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;

/** Does nothing to the host before the first call. */
export function createBridgeDriver(deps: BridgeDeps): NetworkDriver {
  const { exec, log } = deps;
  const store = createNetworkStore(deps);
  let tail: Promise<unknown> = Promise.resolve();
  /** One change of networks at a time. */
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const turn = tail.then(act, act);
    tail = turn.catch(() => {});
    return turn;
  };

  const getConfig = (name: string): BridgeConfig => {
    const stored = store.find(name);
    if (stored === null) throw notFound('Network');
    return readBridgeConfig(stored.network);
  };
  let cluster = store.names.read();
  /** Tells every dnsmasq the names that are not its own network's. */
  const spreadNames = () => {
    const networks = store
      .list()
      .map((name) => ({ config: getConfig(name), reservations: store.reservations(name), paths: store.paths(name) }));
    const entries = nameEntries(networks, cluster);
    for (const network of networks) {
      if (writeClusterNames(network.paths, hostsText(entriesBeside(network, entries)))) reloadDnsmasq(network.paths);
    }
    void deps.hostNames?.serve(entries);
  };
  /** Addresses of the network's instances on other hosts. */
  const elsewhere = (network: string): Set<string> =>
    new Set(
      cluster.flatMap(({ addresses }) => addresses.flatMap((one) => (one.network === network ? [one.address] : []))),
    );
  /** Makes the host be as the store says; `previous` external interfaces that are gone from the config are let go. */
  const apply = async (name: string, previous: string[]) => {
    const stored = store.find(name);
    if (stored === null) throw notFound('Network');
    const config = readBridgeConfig(stored.network);
    const paths = store.paths(name);
    await ensureBridge(exec, config, config.hwaddr ?? stored.bridgeHwaddr, previous);
    await ensureRoutes(exec, config);
    await applyRules(exec, renderRules(name, config));
    for (const nic of store.reservations(name)) writeHostFiles(paths, config, nic);
    spreadNames();
    await ensureDnsmasq(exec, config, paths);
    void deps.hostNames?.announceBridge(config);
  };
  const write = (network: NetworkSpec, decided: Record<string, string>) => {
    const whole: NetworkSpec = { ...network, config: { ...network.config, ...decided } };
    if (whole.config['raw.dnsmasq']) log.warn('network.raw-dnsmasq.ignored', { network: network.name });
    // Refused values leave what was there untouched.
    readBridgeConfig(whole);
    store.write({ network: whole, bridgeHwaddr: store.find(network.name)?.bridgeHwaddr ?? randomHwaddr() });
  };
  /** Addresses chosen before are kept: the same request gets the same answer. */
  const chosenBefore = (network: NetworkSpec): Record<string, string> => {
    const known = store.find(network.name)?.network.config ?? {};
    return Object.fromEntries(
      ['ipv4', 'ipv6'].flatMap((version) => {
        const address = known[`${version}.address`];
        if (
          address === undefined ||
          address === 'none' ||
          !['', 'auto'].includes(network.config[`${version}.address`] ?? '')
        )
          return [];
        const nat = network.config[`${version}.nat`] || known[`${version}.nat`];
        return [[`${version}.address`, address], ...(nat === undefined ? [] : [[`${version}.nat`, nat]])];
      }),
    );
  };
  const removeNetwork = async (name: string) => {
    const stored = store.find(name);
    if (stored === null) return;
    const paths = store.paths(name);
    await stopDnsmasq(paths);
    await removeRules(exec, name);
    await deleteBridge(exec, name);
    store.remove(name);
    spreadNames();
  };

  return {
    create: (network, preferred) =>
      inTurn(async () => {
        // The name is checked before it becomes a path.
        readBridgeConfig({ ...network, config: { ...network.config, 'ipv4.address': 'none', 'ipv6.address': 'none' } });
        const isKnown = store.find(network.name) !== null;
        if (!isKnown && linkExists(network.name)) throw notManaged(network.name);
        const kept = chosenBefore(network);
        const config = { ...network.config, ...kept };
        const used = needsChoice(config) ? await usedSubnets(exec, network.name) : [];
        const decided = { ...kept, ...decideAddresses(config, preferred, used) };
        write(network, decided);
        try {
          await apply(network.name, []);
        } catch (error) {
          if (!isKnown) await removeNetwork(network.name).catch((err) => log.error('network.undo.failed', { err }));
          throw error;
        }
        return decided;
      }),

    update: (network) =>
      inTurn(async () => {
        const before = getConfig(network.name);
        const old = store.find(network.name);
        // Here, unlike at creation, an absent address means none.
        const explicit = { 'ipv4.address': 'none', 'ipv6.address': 'none', ...dropEmpty(network.config) };
        const kept = chosenBefore({ ...network, config: explicit });
        const config = { ...explicit, ...kept };
        const used = needsChoice(config) ? await usedSubnets(exec, network.name) : [];
        const decided = { ...kept, ...decideAddresses(config, { ipv4: null, ipv6: null }, used) };
        write(network, decided);
        try {
          await apply(network.name, before.externalInterfaces);
        } catch (error) {
          if (old !== null) store.write(old);
          await apply(network.name, []).catch((err) =>
            log.error('network.undo.failed', { network: network.name, err }),
          );
          throw error;
        }
        return decided;
      }),

    delete: (name) => inTurn(() => removeNetwork(name)),

    restore: () =>
      inTurn(async () => {
        for (const name of store.list()) {
          try {
            await apply(name, []);
          } catch (error) {
            // One broken network must not keep the others down.
            log.error('network.restore.failed', { network: name, err: error });
          }
        }
        spreadNames();
      }),

    reserve: async (request) => {
      const nic = checkedRequest(request);
      const config = getConfig(nic.network);
      const paths = store.paths(nic.network);
      const isSame = (one: Reservation) => one.instance === nic.instance && one.device === nic.device;
      const all = store.reservations(nic.network);
      const decided = decide(
        config,
        nic,
        { reservations: all, leases: readLeases(paths), elsewhere: elsewhere(nic.network) },
        all.find(isSame) ?? null,
      );
      if (JSON.stringify(all.find(isSame)) !== JSON.stringify(decided)) {
        store.writeReservations(nic.network, [...all.filter((one) => !isSame(one)), decided]);
      }
      writeHostFiles(paths, config, decided);
      // A dnsmasq that has died is not missed until somebody needs it.
      if (findDnsmasq(paths) === null) await inTurn(() => ensureDnsmasq(exec, getConfig(nic.network), paths));
      return toAttachment(config, decided);
    },

    release: async (instance, device) => {
      for (const network of store.list()) {
        const all = store.reservations(network);
        const found = all.find((one) => one.instance === instance && one.device === device);
        if (found === undefined) continue;
        const paths = store.paths(network);
        removeHostFiles(paths, found);
        reloadDnsmasq(paths);
        await endLeases(exec, getConfig(network), paths, found);
        // Last, so that a crash before repeats the whole; read anew, for others were at work meanwhile.
        store.writeReservations(
          network,
          store.reservations(network).filter((one) => one !== found),
        );
        spreadNames();
      }
    },

    renameInstance: async (instance, newInstance) => {
      for (const network of store.list()) {
        const all = store.reservations(network);
        const moved = all.filter((one) => one.instance === instance);
        if (moved.length === 0) continue;
        const config = getConfig(network);
        const paths = store.paths(network);
        const renamed = moved.map((one) => {
          checkedRequest({ ...one, instance: newInstance, network, ipv4Address: null, ipv6Address: null });
          return { ...one, instance: newInstance };
        });
        store.writeReservations(network, [...all.filter((one) => one.instance !== instance), ...renamed]);
        for (const one of moved) removeHostFiles(paths, one);
        for (const one of renamed) writeHostFiles(paths, config, one);
        reloadDnsmasq(paths);
        spreadNames();
      }
    },

    announce: async (instance, up) => {
      for (const network of store.list()) {
        const all = store.reservations(network);
        const turned = all.filter((one) => one.instance === instance && one.named !== up);
        if (turned.length === 0) continue;
        const config = getConfig(network);
        const paths = store.paths(network);
        const next = all.map((one) => (turned.includes(one) ? { ...one, named: up } : one));
        store.writeReservations(network, next);
        for (const one of next) if (one.instance === instance) writeHostFiles(paths, config, one);
        if (up) continue;
        reloadDnsmasq(paths);
        // A lease carries the name as well.
        for (const one of turned) await releaseLeases(config, paths, one);
      }
      spreadNames();
    },

    serveNames: async (all) => {
      if (JSON.stringify(all) === JSON.stringify(cluster)) return;
      cluster = [...all];
      store.names.write(cluster);
      spreadNames();
    },

    withdrawNames: async () => {
      cluster = [];
      store.names.write(null);
      await deps.hostNames?.withdraw();
    },

    leases: async (network) =>
      joinLeases(getConfig(network), store.reservations(network), readLeases(store.paths(network))),

    state: async (network) => {
      const stored = store.find(network);
      if (stored === null && !linkExists(network)) throw notFound('Network');
      return networkState(network, stored && readBridgeConfig(stored.network));
    },
  };
}

const dropEmpty = (config: Record<string, string>) =>
  Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''));
