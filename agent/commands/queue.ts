/**
 * In which order commands run: those of one instance strictly as they came, those that need a pool or network after its
 * making, everything else side by side.
 */
import type { Command, InstanceSpec } from '#protocol/commands.ts';
import { instanceKey } from '../journal/journal.ts';

/**
 * `exclusive`: alone on the key. `shared`: together with other users, not with makers. `after`: waits for what came
 * before and holds up nothing that comes after (a program may run for days).
 */
interface Claim {
  key: string;
  mode: 'exclusive' | 'shared' | 'after';
}

/** What the command touches. */
export function claimsOf(command: Command): Claim[] {
  switch (command.name) {
    case 'instance.create':
      return [
        exclusive(`instance:${instanceKey(command.params.spec)}`),
        ...(command.params.copyOf === undefined ? [] : [exclusive(`instance:${instanceKey(command.params.copyOf)}`)]),
        shared(`pool:${command.params.pool.name}`),
        ...command.params.networks.map((network) => shared(`network:${network.name}`)),
        ...resourcesOf(command.params.spec),
        ...(command.params.image === null ? [] : [shared(`image:${command.params.image.fingerprint}`)]),
      ];
    case 'instance.receive':
      return [
        exclusive(`instance:${instanceKey(command.params.spec)}`),
        shared(`pool:${command.params.pool.name}`),
        ...command.params.networks.map((network) => shared(`network:${network.name}`)),
        ...resourcesOf(command.params.spec),
      ];
    case 'instance.state':
    case 'instance.update':
    case 'instance.send':
      return [exclusive(`instance:${instanceKey(command.params.spec)}`), ...resourcesOf(command.params.spec)];
    case 'instance.rename': {
      const { spec, newName } = command.params;
      return [spec, { ...spec, name: newName }].map((ref) => exclusive(`instance:${instanceKey(ref)}`));
    }
    case 'instance.delete': {
      const { ref, pool } = command.params;
      return [exclusive(`instance:${instanceKey(ref)}`), ...(pool === null ? [] : [shared(`pool:${pool.name}`)])];
    }
    case 'instance.exec':
      return [{ key: `instance:${instanceKey(command.params.ref)}`, mode: 'after' }];
    case 'image.inspect':
      return [shared(`image:${command.params.image.fingerprint}`)];
    case 'image.delete':
      return [exclusive(`image:${command.params.fingerprint}`)];
    case 'pool.create':
    case 'pool.update':
    case 'pool.delete':
      return [exclusive(`pool:${command.params.pool.name}`)];
    case 'volume.create':
    case 'volume.update':
    case 'volume.delete': {
      const { pool, volume } = command.params;
      return [shared(`pool:${pool.name}`), exclusive(volumeKey(pool.name, volume.project, volume.name))];
    }
    case 'volume.rename': {
      const { pool, volume, newName } = command.params;
      const names = [volume.name, newName].map((name) => exclusive(volumeKey(pool.name, volume.project, name)));
      return [shared(`pool:${pool.name}`), ...names];
    }
    case 'network.create':
    case 'network.update':
      return [exclusive(`network:${command.params.network.name}`)];
    case 'agent.upgrade':
      return [exclusive('agent')];
    case 'network.delete':
      return [exclusive(`network:${command.params.name}`)];
  }
}

/** True when `later` has to wait until `earlier` has finished. */
export function mustWait(earlier: Command, later: Command): boolean {
  if (isGracefulStop(earlier) && isForced(later)) return false;
  const claims = claimsOf(later);
  return claimsOf(earlier).some((held) =>
    claims.some((wanted) => {
      if (held.key !== wanted.key || held.mode === 'after') return false;
      return held.mode === 'exclusive' || wanted.mode === 'exclusive';
    }),
  );
}

/** A stop that waits for the instance's init; a forced one may overtake it, as in LXD. */
const isGracefulStop = (command: Command) =>
  command.name === 'instance.state' && command.params.action === 'stop' && !command.params.force;

const isForced = (command: Command) =>
  command.name === 'instance.state' && command.params.action === 'stop' && command.params.force;

/** True when `later` makes waiting for `earlier` pointless: a restart that hangs in its stop gives way to force. */
export function supersedes(later: Command, earlier: Command): boolean {
  const takesOver =
    later.name === 'instance.delete' ||
    (later.name === 'instance.state' && later.params.force && later.params.action !== 'start');
  if (!takesOver || earlier.name !== 'instance.state' || earlier.params.force) return false;
  const { action, spec } = earlier.params;
  const ref = later.name === 'instance.delete' ? later.params.ref : later.params.spec;
  if (instanceKey(spec) !== instanceKey(ref)) return false;
  return action === 'restart' || (action === 'stop' && !isForced(later));
}

const exclusive = (key: string): Claim => ({ key, mode: 'exclusive' });
const shared = (key: string): Claim => ({ key, mode: 'shared' });

const volumeKey = (pool: string, project: string, name: string) => `volume:${pool}/${project}/${name}`;

function resourcesOf({ project, expandedDevices }: InstanceSpec): Claim[] {
  return Object.values(expandedDevices).flatMap((device) => {
    if (device.type === 'disk' && device.pool !== undefined) {
      const { pool, source } = device;
      return [shared(`pool:${pool}`), ...(source === undefined ? [] : [shared(volumeKey(pool, project, source))])];
    }
    const network = device.type === 'nic' ? (device.network ?? device.parent) : undefined;
    return network === undefined ? [] : [shared(`network:${network}`)];
  });
}
