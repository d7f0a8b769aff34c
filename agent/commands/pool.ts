/** `pool.create`, `pool.update`, `pool.delete`. */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { CommandContext, Host } from './host.ts';

/** Makes or adopts the pool; answers the member's keys. A failed one is no pool of this host. */
export async function createPool(
  host: Host,
  _context: CommandContext,
  { pool }: CommandParams<'pool.create'>,
): Promise<CommandResult<'pool.create'>> {
  const driver = host.pools.replace(host.journal.pools.find(pool.name) ?? pool);
  const decided = await driver.createPool();
  const effective = { ...pool, config: { ...pool.config, ...decided } };
  host.journal.pools.put(effective);
  host.pools.replace(effective);
  return { config: decided };
}

/** Takes over new keys; a larger size makes the pool larger. Throws the driver's refusal, and then keeps the old keys. */
export async function updatePool(
  host: Host,
  _context: CommandContext,
  { pool }: CommandParams<'pool.update'>,
): Promise<CommandResult<'pool.update'>> {
  const known = host.journal.pools.find(pool.name);
  const effective = { ...pool, config: { ...memberKeys(known?.config ?? {}), ...pool.config } };
  const sizeBytes = parseSizeBytes(effective.config.size ?? '');
  if (known !== undefined && sizeBytes !== null && sizeBytes !== parseSizeBytes(known.config.size ?? '')) {
    await (await host.pools.open(pool.name)).growPool(sizeBytes);
  }
  host.journal.pools.put(effective);
  host.pools.replace(effective);
  return {};
}

/** What this host decided at the creation and an update need not repeat. */
function memberKeys(config: Record<string, string>): Record<string, string> {
  const keys = ['source', 'size', 'zfs.pool_name', 'volatile.initial_source'];
  return Object.fromEntries(keys.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]])));
}

/** Refuses while instances of this host live in it, whatever the control plane believes. */
export async function deletePool(
  host: Host,
  _context: CommandContext,
  { pool }: CommandParams<'pool.delete'>,
): Promise<CommandResult<'pool.delete'>> {
  if (host.journal.instances.list().some((record) => record.pool === pool.name)) {
    throw badRequest('The storage pool is currently in use');
  }
  await host.pools.replace(host.journal.pools.find(pool.name) ?? pool).deletePool();
  host.journal.pools.delete(pool.name);
  host.pools.forget(pool.name);
  return {};
}
