/** A host's own values for the cluster's pools and networks: from flags, from a preseed, from answers. Pure. */
import { badRequest } from '#protocol/errors.ts';
import type { JoinPlan, JoinRequest } from '#protocol/join.ts';

export type MemberConfig = NonNullable<JoinRequest['memberConfig']>;
export type MemberConfigEntry = MemberConfig[number];
export type Question = JoinPlan['memberConfig'][number];

/** `local:source=/dev/vdb` of a flag. Throws `bad_request` for another form. */
export function parseMemberFlag(entity: MemberConfigEntry['entity'], text: string): MemberConfigEntry {
  const match = /^([^:=]+):([^:=]+)=(.*)$/.exec(text);
  const [, name, key, value] = match ?? [];
  if (name === undefined || key === undefined || value === undefined) {
    throw badRequest(`Invalid value ${JSON.stringify(text)}: expected "<name>:<key>=<value>"`);
  }
  return { entity, name, key, value };
}

/** The later of two values for one key counts. */
export function mergeMemberConfig(...lists: readonly MemberConfig[]): MemberConfig {
  const entries = new Map(lists.flat().map((entry) => [keyOf(entry), entry]));
  return [...entries.values()];
}

/** Throws `bad_request` for values of pools and networks that the cluster does not have. */
export function checkMemberConfig(plan: Pick<JoinPlan, 'pools' | 'networks'>, given: MemberConfig): void {
  for (const { entity, name } of given) {
    const known = entity === 'storage-pool' ? plan.pools : plan.networks;
    if (!known.some((one) => one.name === name)) {
      throw badRequest(`The cluster has no ${entity.replace('-', ' ')} "${name}"`);
    }
  }
}

/** Throws `bad_request` unless the cluster has these pools, of these drivers (empty: whichever). */
export function checkExpectedPools(
  plan: Pick<JoinPlan, 'pools'>,
  expected: readonly { name: string; driver: string }[],
): void {
  for (const { name, driver } of expected) {
    const known = plan.pools.find((pool) => pool.name === name);
    if (known === undefined) throw badRequest(`The cluster has no storage pool "${name}"`);
    if (driver !== '' && driver !== known.driver) {
      throw badRequest(`Storage pool "${name}" is of type "${known.driver}" instead of "${driver}"`);
    }
  }
}

/** The questions that nothing given answers. */
export function openQuestions(plan: Pick<JoinPlan, 'memberConfig'>, given: MemberConfig): Question[] {
  const answered = new Set(given.map(keyOf));
  return plan.memberConfig.filter((question) => !answered.has(keyOf(question)));
}

/** The values given for one pool or network, empty ones left out: they mean the driver's default. */
export function configOf(entity: MemberConfigEntry['entity'], name: string, given: MemberConfig) {
  const own = given.filter((entry) => entry.entity === entity && entry.name === name && entry.value !== '');
  return Object.fromEntries(own.map(({ key, value }) => [key, value]));
}

const keyOf = ({ entity, name, key }: Pick<MemberConfigEntry, 'entity' | 'name' | 'key'>) =>
  JSON.stringify([entity, name, key]);
