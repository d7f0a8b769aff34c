/**
 * The tables. One writer: `worker/state`. Desired state (what users asked for) and reported state (what agents said) stand
 * in the same row where one belongs to the other; `docs/storage-schema.md` says who deletes each row.
 * JSON columns hold camelCase or LXD maps, never API objects. Times are UTC ISO strings.
 */
import { sql } from 'drizzle-orm';
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';
import type { HostInventory } from '#protocol/backup.ts';
import type { HostResources, InstanceState } from '#protocol/inventory.ts';
import type { Device } from '#worker/domain/config.ts';
import type { TriggerLimits, TriggerParameters, TriggerRules, TriggerTemplate } from '#worker/domain/trigger.ts';

type Config = Record<string, string>;
type Devices = Record<string, Device>;

const json = <T>(name: string) => text(name, { mode: 'json' }).$type<T>();

/** Cluster-wide server configuration; `core.trust_password` holds a salted hash. */
export const serverConfig = sqliteTable('server_config', {
  key: text('key').primaryKey(),
  value: text('value').notNull(),
});

export const projects = sqliteTable('projects', {
  name: text('name').primaryKey(),
  description: text('description').notNull().default(''),
  config: json<Config>('config').notNull(),
});

/** The trust store. */
export const certificates = sqliteTable('certificates', {
  fingerprint: text('fingerprint').primaryKey(),
  type: text('type', { enum: ['client', 'server', 'metrics'] }).notNull(),
  name: text('name').notNull(),
  restricted: integer('restricted', { mode: 'boolean' }).notNull().default(false),
  projects: json<string[]>('projects').notNull(),
  certificate: text('certificate').notNull(),
  createdAt: text('created_at').notNull(),
});

/** Join and certificate tokens: only the hash of the secret. A token lives as long as its operation runs. */
export const tokens = sqliteTable(
  'tokens',
  {
    operationId: text('operation_id').primaryKey(),
    kind: text('kind', { enum: ['join', 'certificate'] }).notNull(),
    secretHash: text('secret_hash').notNull(),
    /** Join: the member's name. Certificate: the client's name. */
    name: text('name').notNull(),
    /** Certificate tokens: type, restriction and projects of the certificate it will add. */
    grant: json<{ type: 'client' | 'metrics'; restricted: boolean; projects: string[] }>('grant'),
    expiresAt: text('expires_at'),
    usedAt: text('used_at'),
    /** Join: the key that used it, so that the same joiner may repeat. */
    usedBy: text('used_by'),
  },
  (t) => [uniqueIndex('tokens_secret').on(t.secretHash)],
);

/** Bearer tokens that are good: a revoked one has no row. Only a hash of what was issued. */
export const accessTokens = sqliteTable('access_tokens', {
  id: text('id').primaryKey(),
  /** SHA-256 of the whole token. */
  hash: text('hash').notNull(),
  name: text('name').notNull(),
  scope: text('scope', { enum: ['full', 'read-only', 'metrics'] }).notNull(),
  /** Null: all of them, and the server itself. */
  projects: json<string[]>('projects'),
  createdAt: text('created_at').notNull(),
  expiresAt: text('expires_at').notNull(),
});

/** People who log in by the built-in OIDC issuer. */
export const users = sqliteTable('users', {
  name: text('name').primaryKey(),
  /** PBKDF2, salted. */
  passwordHash: text('password_hash').notNull(),
  /** Null: all of them, and the server itself. */
  projects: json<string[]>('projects'),
  readOnly: integer('read_only', { mode: 'boolean' }).notNull().default(false),
  createdAt: text('created_at').notNull(),
});

/** Programs that asked for a login, until they have fetched what became of it. */
export const deviceLogins = sqliteTable(
  'device_logins',
  {
    /** SHA-256 of the device code. */
    deviceHash: text('device_hash').primaryKey(),
    /** What the person is shown, without its hyphen. */
    userCode: text('user_code').notNull(),
    /** Where the program asked from. */
    address: text('address').notNull(),
    /** Who allowed it. */
    userName: text('user_name'),
    denied: integer('denied', { mode: 'boolean' }).notNull().default(false),
    createdAt: text('created_at').notNull(),
    expiresAt: text('expires_at').notNull(),
  },
  (t) => [uniqueIndex('device_logins_user_code').on(t.userCode), index('device_logins_expires').on(t.expiresAt)],
);

/** Programs that are logged in: their access tokens name the row, so none outlives it. */
export const userLogins = sqliteTable(
  'user_logins',
  {
    id: text('id').primaryKey(),
    userName: text('user_name').notNull(),
    /** SHA-256 of the refresh token. */
    refreshHash: text('refresh_hash').notNull(),
    address: text('address').notNull(),
    createdAt: text('created_at').notNull(),
    expiresAt: text('expires_at').notNull(),
  },
  (t) => [uniqueIndex('user_logins_refresh').on(t.refreshHash), index('user_logins_user').on(t.userName)],
);

export const members = sqliteTable(
  'members',
  {
    name: text('name').primaryKey(),
    /** Ed25519 public key, SPKI DER in base64. */
    publicKey: text('public_key').notNull(),
    description: text('description').notNull().default(''),
    failureDomain: text('failure_domain').notNull().default('default'),
    roles: json<string[]>('roles').notNull(),
    groups: json<string[]>('groups').notNull(),
    config: json<Config>('config').notNull(),
    architecture: text('architecture').notNull(),
    state: text('state', { enum: ['Created', 'Evacuated'] })
      .notNull()
      .default('Created'),
    /** Reported: written by Links when it changes, never per heartbeat. */
    online: integer('online', { mode: 'boolean' }).notNull().default(false),
    statusReason: text('status_reason').notNull().default(''),
    statusChangedAt: text('status_changed_at').notNull(),
    epoch: integer('epoch').notNull().default(0),
    processId: text('process_id').notNull().default(''),
    /** Boots of hosts that came with this member's key while another host was it: they stay out. */
    barredBoots: json<string[]>('barred_boots').notNull().default([]),
    agentVersion: text('agent_version').notNull().default(''),
    protocol: integer('protocol').notNull().default(0),
    resources: json<HostResources>('resources').notNull(),
    createdAt: text('created_at').notNull(),
  },
  (t) => [uniqueIndex('members_public_key').on(t.publicKey)],
);

/**
 * Keys under a name that they do not have here any more. Of a renamed member, so that its agent learns the new name; of a
 * removed one, so that it is told why it is refused, and is not taken for whoever has the name now.
 */
export const formerMembers = sqliteTable(
  'former_members',
  {
    name: text('name').notNull(),
    publicKey: text('public_key').notNull(),
    kind: text('kind', { enum: ['renamed', 'removed'] }).notNull(),
    /** Removed while nothing was there: the host may take away what it made for the cluster. */
    cleanUp: integer('clean_up', { mode: 'boolean' }).notNull().default(false),
    since: text('since').notNull(),
    /** When its agent was told. */
    learnedAt: text('learned_at'),
  },
  (t) => [primaryKey({ columns: [t.name, t.publicKey] }), index('former_members_key').on(t.publicKey)],
);

export const clusterGroups = sqliteTable('cluster_groups', {
  name: text('name').primaryKey(),
  description: text('description').notNull().default(''),
});

export const instances = sqliteTable(
  'instances',
  {
    id: text('id').primaryKey(),
    project: text('project').notNull(),
    name: text('name').notNull(),
    type: text('type', { enum: ['container'] }).notNull(),
    member: text('member').notNull(),
    /** The member that is receiving it: until that has all of it, the instance is still where it was, and nobody changes it. */
    movingTo: text('moving_to'),
    architecture: text('architecture').notNull(),
    description: text('description').notNull().default(''),
    ephemeral: integer('ephemeral', { mode: 'boolean' }).notNull().default(false),
    stateful: integer('stateful', { mode: 'boolean' }).notNull().default(false),
    profiles: json<string[]>('profiles').notNull(),
    config: json<Config>('config').notNull(),
    devices: json<Devices>('devices').notNull(),
    /** Pool of the root disk, resolved at creation: where its volume is. */
    pool: text('pool').notNull(),
    /** Bytes of memory that placement counts for it (0: no limit set). */
    memoryBytes: integer('memory_bytes').notNull().default(0),
    status: text('status', { enum: ['Running', 'Stopped', 'Frozen', 'Error'] }).notNull(),
    state: json<InstanceState>('state'),
    /** When the agent last reported it. */
    stateAt: text('state_at'),
    createdAt: text('created_at').notNull(),
    lastUsedAt: text('last_used_at'),
  },
  (t) => [uniqueIndex('instances_name').on(t.project, t.name), index('instances_member').on(t.member)],
);

/** Why an instance was put where it is: written with it, read by whoever asks. */
export const instancePlacements = sqliteTable('instance_placements', {
  instanceId: text('instance_id').primaryKey(),
  member: text('member').notNull(),
  /** `--target`, as it was given. */
  target: text('target'),
  strategy: text('strategy', { enum: ['spread', 'pack'] }).notNull(),
  /** Best first. */
  scores: json<{ member: string; score: number; parts: Record<string, number> }[]>('scores').notNull(),
  rejections: json<{ member: string; reason: string }[]>('rejections').notNull(),
  createdAt: text('created_at').notNull(),
});

export const profiles = sqliteTable(
  'profiles',
  {
    project: text('project').notNull(),
    name: text('name').notNull(),
    description: text('description').notNull().default(''),
    config: json<Config>('config').notNull(),
    devices: json<Devices>('devices').notNull(),
  },
  (t) => [primaryKey({ columns: [t.project, t.name] })],
);

/** One part of an image's content in the BlobStore. */
export type ImagePart = { name: 'unified' | 'metadata' | 'rootfs'; key: string; sizeBytes: number; filename: string };

export const images = sqliteTable(
  'images',
  {
    project: text('project').notNull(),
    fingerprint: text('fingerprint').notNull(),
    /** `pending` until a member has read its metadata; pending ones are not shown. */
    status: text('status', { enum: ['pending', 'ready'] }).notNull(),
    type: text('type', { enum: ['container', 'virtual-machine'] }).notNull(),
    architecture: text('architecture').notNull(),
    filename: text('filename').notNull(),
    sizeBytes: integer('size_bytes').notNull(),
    public: integer('public', { mode: 'boolean' }).notNull().default(false),
    cached: integer('cached', { mode: 'boolean' }).notNull().default(false),
    autoUpdate: integer('auto_update', { mode: 'boolean' }).notNull().default(false),
    properties: json<Config>('properties').notNull(),
    profiles: json<string[]>('profiles').notNull(),
    parts: json<ImagePart[]>('parts').notNull(),
    createdAt: text('created_at').notNull(),
    uploadedAt: text('uploaded_at').notNull(),
    lastUsedAt: text('last_used_at'),
    expiresAt: text('expires_at'),
  },
  (t) => [primaryKey({ columns: [t.project, t.fingerprint] })],
);

export const imageAliases = sqliteTable(
  'image_aliases',
  {
    project: text('project').notNull(),
    name: text('name').notNull(),
    description: text('description').notNull().default(''),
    fingerprint: text('fingerprint').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.project, t.name] }),
    index('image_aliases_fingerprint').on(t.project, t.fingerprint),
  ],
);

/** `Pending` is LXD's first phase: defined on some members, the final call not made yet. */
const RESOURCE_STATUS = ['Pending', 'Created', 'Errored'] as const;

export const storagePools = sqliteTable('storage_pools', {
  name: text('name').primaryKey(),
  driver: text('driver', { enum: ['zfs', 'btrfs', 'dir'] }).notNull(),
  description: text('description').notNull().default(''),
  config: json<Config>('config').notNull(),
  status: text('status', { enum: RESOURCE_STATUS }).notNull(),
});

export const storagePoolMembers = sqliteTable(
  'storage_pool_members',
  {
    pool: text('pool').notNull(),
    member: text('member').notNull(),
    /** Member-specific keys: source, size, zfs.pool_name, volatile.initial_source. */
    config: json<Config>('config').notNull(),
    status: text('status', { enum: RESOURCE_STATUS }).notNull(),
    message: text('message').notNull().default(''),
  },
  (t) => [primaryKey({ columns: [t.pool, t.member] }), index('storage_pool_members_member').on(t.member)],
);

/** Custom volumes; those of instances and images follow from their rows. */
export const storageVolumes = sqliteTable(
  'storage_volumes',
  {
    pool: text('pool').notNull(),
    project: text('project').notNull(),
    name: text('name').notNull(),
    member: text('member').notNull(),
    description: text('description').notNull().default(''),
    config: json<Config>('config').notNull(),
    /** `Pending` until its member has made it: such a one is not shown. */
    status: text('status', { enum: ['Pending', 'Created'] }).notNull(),
    createdAt: text('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.pool, t.project, t.name, t.member] }), index('storage_volumes_member').on(t.member)],
);

export const networks = sqliteTable('networks', {
  name: text('name').primaryKey(),
  type: text('type', { enum: ['bridge'] }).notNull(),
  description: text('description').notNull().default(''),
  config: json<Config>('config').notNull(),
  status: text('status', { enum: RESOURCE_STATUS }).notNull(),
});

export const networkMembers = sqliteTable(
  'network_members',
  {
    network: text('network').notNull(),
    member: text('member').notNull(),
    /** Member-specific keys, and the addresses that the member got where the network says `auto`. */
    config: json<Config>('config').notNull(),
    status: text('status', { enum: RESOURCE_STATUS }).notNull(),
    message: text('message').notNull().default(''),
  },
  (t) => [primaryKey({ columns: [t.network, t.member] }), index('network_members_member').on(t.member)],
);

export const operations = sqliteTable(
  'operations',
  {
    id: text('id').primaryKey(),
    project: text('project').notNull(),
    class: text('class', { enum: ['task', 'websocket', 'token'] }).notNull(),
    description: text('description').notNull(),
    /** LXD's status code: 105 pending, 103 running, 104 cancelling, 200 success, 400 failure, 401 cancelled. */
    status: integer('status').notNull(),
    /** Kind → URLs, as the API shows them. */
    resources: json<Record<string, string[]>>('resources'),
    metadata: json<Record<string, unknown>>('metadata'),
    mayCancel: integer('may_cancel', { mode: 'boolean' }).notNull(),
    err: text('err').notNull().default(''),
    location: text('location').notNull(),
    createdAt: text('created_at').notNull(),
    updatedAt: text('updated_at').notNull(),
  },
  (t) => [index('operations_status').on(t.status), index('operations_updated').on(t.updatedAt)],
);

/** What members were asked to do. `operationId` is null for work that only converges a member. */
export const commands = sqliteTable(
  'commands',
  {
    id: text('id').primaryKey(),
    operationId: text('operation_id'),
    member: text('member').notNull(),
    name: text('name').notNull(),
    params: json<unknown>('params').notNull(),
    status: text('status', { enum: ['waiting', 'done', 'failed', 'cancelled'] }).notNull(),
    /** Set by the batch that applied the result: only that batch's other statements take effect. */
    appliedBy: text('applied_by'),
    error: text('error').notNull().default(''),
    createdAt: text('created_at').notNull(),
    finishedAt: text('finished_at'),
  },
  (t) => [index('commands_waiting').on(t.member, t.status), index('commands_operation').on(t.operationId)],
);

/** Lifecycle events, durable and in order. */
export const events = sqliteTable('events', {
  seq: integer('seq').primaryKey({ autoIncrement: true }),
  project: text('project'),
  location: text('location').notNull(),
  timestamp: text('timestamp').notNull(),
  metadata: json<{
    action: string;
    source: string;
    context?: Record<string, unknown>;
    requestor?: Record<string, string>;
  }>('metadata').notNull(),
});

export const warnings = sqliteTable(
  'warnings',
  {
    id: text('id').primaryKey(),
    /** What makes it the same warning again: type, member and entity. */
    dedupeKey: text('dedupe_key').notNull(),
    type: text('type').notNull(),
    severity: text('severity', { enum: ['low', 'moderate', 'high'] }).notNull(),
    status: text('status', { enum: ['new', 'acknowledged', 'resolved'] }).notNull(),
    count: integer('count').notNull().default(1),
    location: text('location').notNull().default(''),
    project: text('project').notNull().default(''),
    entityUrl: text('entity_url').notNull().default(''),
    lastMessage: text('last_message').notNull(),
    firstSeenAt: text('first_seen_at').notNull(),
    lastSeenAt: text('last_seen_at').notNull(),
  },
  (t) => [uniqueIndex('warnings_dedupe').on(t.dedupeKey), index('warnings_status').on(t.status)],
);

/** Signed webhooks that launch instances. The secrets are sealed (`worker/lib/seal.ts`): an HMAC needs them in clear. */
export const triggers = sqliteTable(
  'triggers',
  {
    /** The last part of the public address `/hooks/<id>`. */
    id: text('id').primaryKey(),
    project: text('project').notNull(),
    name: text('name').notNull(),
    description: text('description').notNull().default(''),
    enabled: integer('enabled', { mode: 'boolean' }).notNull().default(true),
    scheme: text('scheme', { enum: ['standard', 'github'] }).notNull(),
    secret: text('secret').notNull(),
    /** The secret before the last rotation, good until `previousUntil`. */
    previousSecret: text('previous_secret'),
    previousUntil: text('previous_until'),
    windowSeconds: integer('window_seconds').notNull(),
    /** GitHub: JSON pointer to the signed time in the payload; empty: none. */
    timestampPointer: text('timestamp_pointer').notNull().default(''),
    parameters: json<TriggerParameters>('parameters').notNull(),
    rules: json<TriggerRules>('rules').notNull(),
    template: json<TriggerTemplate>('template').notNull(),
    limits: json<TriggerLimits>('limits').notNull(),
    createdAt: text('created_at').notNull(),
  },
  (t) => [uniqueIndex('triggers_name').on(t.project, t.name)],
);

/** One accepted delivery, written in the batch of its instance: the key makes a delivery launch once. */
export const triggerLaunches = sqliteTable(
  'trigger_launches',
  {
    triggerId: text('trigger_id').notNull(),
    /** Standard Webhooks: the signed id. GitHub, which signs no id: the hash of the signed body. */
    deliveryKey: text('delivery_key').notNull(),
    /** 1; null, hence a refusal of the whole batch, when a limit of the trigger is reached at that moment. */
    admitted: integer('admitted').notNull(),
    instanceId: text('instance_id').notNull(),
    instanceName: text('instance_name').notNull(),
    operationId: text('operation_id').notNull(),
    launchedAt: text('launched_at').notNull(),
    /** When its instance is to be deleted; null: never. */
    expiresAt: text('expires_at'),
  },
  (t) => [
    primaryKey({ columns: [t.triggerId, t.deliveryKey] }),
    index('trigger_launches_launched').on(t.triggerId, t.launchedAt),
    index('trigger_launches_instance').on(t.instanceId),
    index('trigger_launches_expires').on(t.expiresAt),
  ],
);

/** What came to a trigger's address, and what became of it. */
export const triggerDeliveries = sqliteTable(
  'trigger_deliveries',
  {
    seq: integer('seq').primaryKey({ autoIncrement: true }),
    triggerId: text('trigger_id').notNull(),
    /** As the sender named it; empty when it did not. */
    deliveryId: text('delivery_id').notNull(),
    outcome: text('outcome', { enum: ['launched', 'deleted', 'absent', 'ignored', 'duplicate', 'refused'] }).notNull(),
    /** The answer's HTTP status. */
    status: integer('status').notNull(),
    reason: text('reason').notNull().default(''),
    instanceName: text('instance_name').notNull().default(''),
    operationId: text('operation_id').notNull().default(''),
    receivedAt: text('received_at').notNull(),
  },
  (t) => [index('trigger_deliveries_trigger').on(t.triggerId, t.receivedAt)],
);

/** Creating requests that came with an `Idempotency-Key`, and the answers to repeat. */
export const idempotencyKeys = sqliteTable(
  'idempotency_keys',
  {
    /** Hash of who asked and their key. */
    id: text('id').primaryKey(),
    /** Hash of method, path, query and body. */
    requestHash: text('request_hash').notNull(),
    /** The id that the request's operation gets, so that it is found again after a crash. */
    operationId: text('operation_id').notNull(),
    /** Sealed: answers may carry secrets. Null while the request runs. */
    answer: text('answer'),
    /** Of the attempt that runs it. */
    claimedAt: text('claimed_at').notNull(),
    createdAt: text('created_at').notNull(),
  },
  (t) => [index('idempotency_keys_created').on(t.createdAt)],
);

/** Where lifecycle events are sent, signed. */
export const webhooks = sqliteTable(
  'webhooks',
  {
    id: text('id').primaryKey(),
    project: text('project').notNull(),
    name: text('name').notNull(),
    description: text('description').notNull().default(''),
    enabled: integer('enabled', { mode: 'boolean' }).notNull().default(true),
    url: text('url').notNull(),
    /** Lifecycle actions, `instance-*` for a family; empty: all. */
    actions: json<string[]>('actions').notNull(),
    /** May lead to private addresses: only an administrator can say so. */
    allowPrivate: integer('allow_private', { mode: 'boolean' }).notNull().default(false),
    secret: text('secret').notNull(),
    /** Events up to here are in the queue or were not asked for. */
    cursor: integer('cursor').notNull(),
    createdAt: text('created_at').notNull(),
  },
  (t) => [uniqueIndex('webhooks_name').on(t.project, t.name)],
);

/** Events on their way to a webhook, and how sending them went. */
export const webhookQueue = sqliteTable(
  'webhook_queue',
  {
    webhookId: text('webhook_id').notNull(),
    eventSeq: integer('event_seq').notNull(),
    status: text('status', { enum: ['waiting', 'sent', 'failed'] }).notNull(),
    attempts: integer('attempts').notNull().default(0),
    /** When to try next. */
    dueAt: text('due_at').notNull(),
    /** The last answer: an HTTP status or why there was none. */
    lastResult: text('last_result').notNull().default(''),
    createdAt: text('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.webhookId, t.eventSeq] }), index('webhook_queue_due').on(t.status, t.dueAt)],
);

/**
 * Hosts that came while the cluster was being recovered from them: by whose key, whether they are members again, and all they
 * say they have.
 */
export const recoveries = sqliteTable(
  'recoveries',
  {
    name: text('name').notNull(),
    publicKey: text('public_key').notNull(),
    state: text('state', { enum: ['found', 'admitted', 'recovered'] }).notNull(),
    resources: json<HostResources>('resources').notNull(),
    inventory: json<HostInventory>('inventory'),
    foundAt: text('found_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.name, t.publicKey] })],
);

/** The control plane's clock, as SQL, for statements that need it. */
export const nowSql = sql`strftime('%Y-%m-%dT%H:%M:%fZ', 'now')`;
