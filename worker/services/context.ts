/** What every service gets as its first parameter. */

import type { BlobStore } from '#worker/blobs/store.ts';
import type { Vars } from '#worker/env.ts';
import type { Logger } from '#worker/lib/log.ts';
import type { Objects } from '#worker/objects/contract.ts';
import type { Db } from '#worker/state/db.ts';

/** Who calls, as events name them (`requestor`) and permission checks see them. */
export interface Principal {
  protocol: 'tls' | 'unix' | 'token' | 'oidc' | 'webhook';
  /** Certificate fingerprint, the token's id, the user's name, or the trigger's. */
  username: string;
  address: string;
  /** Null: every project, and the server itself. */
  projects: string[] | null;
  /** For the local socket: the member it belongs to. */
  member: string | null;
}

export interface Context {
  db: Db;
  objects: Objects;
  blobs: BlobStore;
  vars: Vars;
  log: Logger;
  /** UTC ISO string with milliseconds. */
  now: () => string;
  /** A fresh UUID. */
  newId: () => string;
  /** The id kept for this request's operation, once; null afterwards. Absent: none is kept. */
  takeOperationId?: () => string | null;
}

export type Authorized = Context & { principal: Principal };
