/**
 * The link's compatibility is this one integer. Raising it adds a dated line here:
 *
 * 1 (2026-11-21) first version.
 * 2 (2026-11-21) names of instances are told to agents (frame `names`); commands and queries beyond those of version 1
 *   (`since.ts`): moving instances, custom volumes, upgrading the agent.
 */
export const PROTOCOL_VERSION = 2;

/** The oldest agent protocol the control plane still talks to. */
export const PROTOCOL_MINIMUM = 1;

/** Agents from this one on can be upgraded over the link. */
export const UPGRADE_PROTOCOL = 2;

/** Agents from this one on take the frame `names`. */
export const NAMES_PROTOCOL = 2;
