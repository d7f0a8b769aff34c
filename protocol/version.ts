/**
 * The link's compatibility is this one integer. Raising it adds a dated line here:
 *
 * 1 (2026-11-21) first version.
 * 2 (2026-11-21) names of instances are told to agents (frame `names`); commands and queries beyond those of version 1
 *   (`since.ts`): moving instances, custom volumes, upgrading the agent.
 * 3 (2026-11-21) samples for metrics are asked for and told (frame `metrics`, both ways). Hosts keep
 *   a copy of what they need of the database (frame `changed`), and give it back (query `host.inventory`).
 *   Files of instances by SFTP (query `sftp.open`); their consoles (`console` in `instance.exec`).
 *   Instances may have another project's volumes (`volumeProject` in their specs).
 */
export const PROTOCOL_VERSION = 3;

/** The oldest agent protocol the control plane still talks to. */
export const PROTOCOL_MINIMUM = 1;

/** Agents from this one on can be upgraded over the link. */
export const UPGRADE_PROTOCOL = 2;

/** Agents from this one on take the frame `names`. */
export const NAMES_PROTOCOL = 2;

/** Agents from this one on take the frame `metrics`. */
export const METRICS_PROTOCOL = 3;

/** Agents from this one on keep a copy of the cluster's definitions, and take the frame `changed`. */
export const BACKUP_PROTOCOL = 3;
