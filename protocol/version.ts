/**
 * The link's compatibility is this one integer. Raising it adds a dated line here:
 *
 * 1 (2026-11-21) first version.
 */
export const PROTOCOL_VERSION = 1;

/** The oldest agent protocol the control plane still talks to. */
export const PROTOCOL_MINIMUM = 1;
