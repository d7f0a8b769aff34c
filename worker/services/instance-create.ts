/**
 * `POST /1.0/instances`: validate, read once, place, write once. What can be wrong is refused before anything is reserved or
 * written; the reservation ends whatever happens.
 */
import type { InstancesPost } from '#protocol/api/instance.ts';
import { AppError, badRequest, conflict, forbidden, notFound } from '#protocol/errors.ts';
import { checkInstanceName, checkProfileName } from '#protocol/names.ts';
import { type Config, type Devices, dropEmptyOptions } from '#worker/domain/config.ts';
import { dropEmpty, replaceConfig } from '#worker/domain/instance-config.ts';
import { nicNetworks } from '#worker/domain/instance-devices.ts';
import { generateInstanceName } from '#worker/domain/instance-names.ts';
import { parseArchitecture, parseInstanceType } from '#worker/domain/instance-type.ts';
import { findClusterGroup } from '#worker/state/cluster-groups.ts';
import type { Write } from '#worker/state/db.ts';
import type { ImageRow } from '#worker/state/images.ts';
import {
  type CreationFacts,
  type CreationQuery,
  insertInstance,
  type LoadedInstance,
  loadCreationFacts,
  type NewInstanceRow,
  touchImage,
} from '#worker/state/instance-queries.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import { insertPlacement } from '#worker/state/placement.ts';
import { toPoolSpec } from '#worker/state/pools.ts';
import { isOutOfRoom, requireRoom } from '#worker/state/project-room.ts';
import type { Authorized } from './context.ts';
import { NO_COPY, planCopy, requireSamePool } from './instance-copy.ts';
import { placementNote } from './instance-placement.ts';
import { parseImageQuery } from './instance-source.ts';
import { memoryBytesOf, toImageSource, toInstanceSpec, toNetworkSpecs } from './instance-spec.ts';
import {
  CREATING,
  type Expanded,
  INITIALISING,
  missingHwaddrs,
  pickProfiles,
  validateExpanded,
  validateOwn,
} from './instance-validate.ts';
import { memberOfVolumes } from './instance-volumes.ts';
import { isRestricted } from './instances.ts';
import { newOperationId, startOperation } from './operations.ts';

export interface CreateRequest {
  project: string;
  target: string | null;
  body: InstancesPost;
  /** What it is a copy of; its own source is none then. */
  copyOf?: LoadedInstance;
  /** More rows for the batch of the instance: it is made with them or not at all. */
  alongside?: (made: Made) => Write[];
}

/** What a creation is about to write. */
export interface Made {
  instanceId: string;
  name: string;
  operationId: string;
}

/** Every member is in it, and it needs no row. */
const DEFAULT_GROUP = 'default';

const NAME_TAKEN =
  'Failed creating instance record: Add instance info to the database: This "instances" entry already exists';

const own = (values: (string | undefined)[]) => values.filter((value): value is string => !!value);

/** What the request alone decides. Throws `bad_request`. */
function readRequest({ body, target }: CreateRequest) {
  if (body.type !== '' && body.type !== 'container')
    throw badRequest(
      body.type === 'virtual-machine'
        ? 'Virtual machines are not supported: this cluster runs containers'
        : `Invalid instance type "${body.type}"`,
    );
  if (body.stateful) throw badRequest('Stateful instances are not supported in this version');
  const name = body.name || generateInstanceName((length) => crypto.getRandomValues(new Uint8Array(length)));
  const badName = checkInstanceName(name);
  if (badName !== null) throw badRequest(badName);
  if (target?.startsWith('@') && target.length === 1) throw badRequest('Invalid target "@"');
  const limits = body.instance_type === '' ? {} : parseInstanceType(body.instance_type);
  if (limits === null) throw badRequest(`Provided instance type doesn't exist: ${body.instance_type}`);
  const { profiles } = body;
  for (const profile of profiles ?? [])
    if (checkProfileName(profile) !== null) throw badRequest('Invalid profile name');
  const config: Config = { ...limits, ...body.config };
  const devices = dropEmptyOptions(body.devices);
  validateOwn({ config, devices }, CREATING);
  return { name, profiles, config, devices, image: parseImageQuery(body.source) };
}

/** The architecture asked for, the image's, or that of a member that is there. */
function chooseArchitecture(wanted: string, image: ImageRow | undefined, facts: CreationFacts): string {
  if (wanted !== '') {
    const architecture = parseArchitecture(wanted);
    if (architecture === null) throw badRequest(`Architecture isn't supported: ${wanted}`);
    if (image && image.architecture !== architecture)
      throw badRequest(`The image is for architecture "${image.architecture}", not "${architecture}"`);
    return architecture;
  }
  return image?.architecture ?? (facts.members.find((member) => member.online) ?? facts.members[0])?.architecture ?? '';
}

/** The instance's own config: what was asked for, the image's properties, and what only the server can say. */
function initialConfig(ctx: Authorized, wanted: Config, image: ImageRow | undefined, devices: Devices): Config {
  const fromImage = Object.fromEntries(
    Object.entries(image?.properties ?? {}).map(([key, value]) => [`image.${key}`, value]),
  );
  const config: Config = {
    ...dropEmpty(fromImage),
    ...(image ? { 'volatile.base_image': image.fingerprint } : {}),
    ...replaceConfig({}, wanted, Object.keys(devices)),
    'volatile.uuid': ctx.newId(),
    'volatile.cloud-init.instance-id': ctx.newId(),
    'volatile.last_state.power': 'STOPPED',
  };
  return { ...config, ...missingHwaddrs(config, devices) };
}

function requirePool(facts: CreationFacts, name: string) {
  const pool = facts.pools.find((row) => row.name === name);
  if (!pool)
    throw new AppError(
      'not_found',
      'Failed creating instance record: Failed initialising instance: Failed loading storage pool: Storage pool not found',
    );
  if (pool.status === 'Pending') throw badRequest(`Storage pool "${name}" is pending: it has not been created yet`);
  return pool;
}

async function requireGroup(ctx: Authorized, name: string): Promise<void> {
  if (name === DEFAULT_GROUP || (await findClusterGroup(ctx.db, name)) !== undefined) return;
  throw badRequest(`Cluster group "${name}" doesn't exist`);
}

const DEFAULT_PROFILES = ['default'];

/** Who names no profiles gets the image's; few images have others than the default one, so they are read on demand. */
async function loadFacts(
  ctx: Authorized,
  named: readonly string[] | null,
  query: Omit<CreationQuery, 'profileNames'>,
): Promise<CreationFacts & { profiles: string[] }> {
  const profiles = [...(named ?? DEFAULT_PROFILES)];
  const facts = await loadCreationFacts(ctx.db, { ...query, profileNames: profiles });
  const ofImage = named === null ? (facts.image?.profiles ?? profiles) : profiles;
  if (ofImage.every((name, index) => name === profiles[index]) && ofImage.length === profiles.length) {
    return { ...facts, profiles };
  }
  return { ...(await loadCreationFacts(ctx.db, { ...query, profileNames: ofImage })), profiles: ofImage };
}

/** Starts the creation. Throws `AppError` for every refusal; then nothing has been written. */
export async function createInstance(ctx: Authorized, request: CreateRequest) {
  const { project, target, body } = request;
  const asked = readRequest(request);
  if (target?.startsWith('@')) await requireGroup(ctx, target.slice(1));
  const nics = nicNetworks(asked.devices);
  const { profiles, ...facts } = await loadFacts(ctx, asked.profiles, {
    project,
    name: asked.name,
    image: asked.image,
    pools: own(Object.values(asked.devices).map((device) => device.pool)),
    networks: [...nics.required, ...nics.possible],
  });
  const { image } = facts;
  if (asked.image.by !== 'none' && !image) throw notFound('Image');
  if (image && image.type !== 'container') throw badRequest('The image is for virtual machines');
  if (facts.nameTaken) throw conflict(NAME_TAKEN);
  if (facts.room !== null && facts.room <= 0) throw outOfRoom(project);

  const layers = pickProfiles(profiles, facts.layers);
  const { networks } = facts;
  const restricted = isRestricted(ctx);
  const { name, config, devices } = asked;
  const expanded = validateExpanded({ name, config, devices, layers, restricted, networks }, CREATING);
  const pool = requirePool(facts, expanded.root.pool);
  const { copyOf } = request;
  if (copyOf !== undefined) requireSamePool(copyOf, pool.name);
  const architecture = chooseArchitecture(body.architecture, image, facts);
  const draft = {
    id: ctx.newId(),
    project,
    name: asked.name,
    type: 'container' as const,
    architecture,
    description: body.description,
    ephemeral: body.ephemeral,
    createdAt: ctx.now(),
    profiles,
    config: initialConfig(ctx, asked.config, image, expanded.devices),
    devices: asked.devices,
  };
  // Refuses what is too large before a place is reserved.
  const spec = toInstanceSpec(draft, layers);
  const memoryBytes = memoryBytesOf(expanded.config);
  const networkNames = managedNames(expanded, facts);

  const volumesAt = await memberOfVolumes(ctx, project, expanded.devices, target, INITIALISING);

  const placement = await ctx.objects.cluster.place({
    instanceId: draft.id,
    project,
    name: asked.name,
    architecture,
    pool: pool.name,
    networks: networkNames,
    imageFingerprint: image?.fingerprint ?? null,
    memoryBytes,
    target: volumesAt ?? target,
  });
  const { member } = placement;
  try {
    const memberPool = facts.poolMembers.find((row) => row.pool === pool.name && row.member === member);
    const row: NewInstanceRow = { ...draft, member, pool: pool.name, memoryBytes, status: 'Stopped' };
    const operationId = newOperationId(ctx);
    const copy = copyOf === undefined ? NO_COPY : planCopy(ctx, copyOf, member);
    return await startOperation(ctx, {
      operation: {
        id: operationId,
        project,
        class: 'task',
        description: 'Creating instance',
        resources: instanceResources(project, asked.name),
        mayCancel: true,
        location: member,
      },
      writes: [
        ...(request.alongside?.({ instanceId: draft.id, name: asked.name, operationId }) ?? []),
        insertInstance(ctx.db, row),
        ...(facts.room === null ? [] : [requireRoom(ctx.db, project)]),
        insertPlacement(ctx.db, placementNote({ instanceId: draft.id, target }, placement, draft.createdAt)),
        ...(image ? [touchImage(ctx.db, image, ctx.now())] : []),
      ],
      commands: [
        {
          member,
          name: 'instance.create',
          params: {
            spec,
            image: image ? toImageSource(image) : null,
            pool: toPoolSpec(pool, memberPool?.config ?? {}),
            networks: toNetworkSpecs(expanded.devices, networks, facts.networkMembers, member),
            start: body.start,
            ...copy.params,
          },
        },
        ...copy.commands,
      ],
    });
  } catch (error) {
    // Another request took the name, or the last place, between the read and the write.
    if (isOutOfRoom(error)) throw outOfRoom(project);
    throw error instanceof AppError && error.code === 'conflict' ? conflict(NAME_TAKEN, error) : error;
  } finally {
    await ctx.objects.cluster.settle(draft.id).catch((error: unknown) => {
      // The reservation ends by itself.
      ctx.log.warn('instance.create.settle', { instance: asked.name }, error);
    });
  }
}

const outOfRoom = (project: string) => forbidden(`Reached maximum number of instances in project "${project}"`);

/** The networks that the member must have: those that exist of what NICs name. */
function managedNames(expanded: Expanded, facts: CreationFacts): string[] {
  const { required, possible } = nicNetworks(expanded.devices);
  return [...required, ...possible].filter((name) => facts.networks.some((network) => network.name === name));
}
