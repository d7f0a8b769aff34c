/** What recurring work calls services with: nobody's request, every right. */
import { createBlobStore } from '#worker/blobs/index.ts';
import { type Env, parseVars } from '#worker/env.ts';
import { nowIso } from '#worker/lib/clock.ts';
import { newId } from '#worker/lib/id.ts';
import { createLogger } from '#worker/lib/log.ts';
import { createOutbound } from '#worker/lib/outbound.ts';
import { createSealer } from '#worker/lib/seal.ts';
import { createObjects } from '#worker/objects/client.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import type { Authorized } from '#worker/services/context.ts';
import type { SendContext } from '#worker/services/webhook-send.ts';
import { openDb } from '#worker/state/db.ts';

/** `publish` replaces the call to the Cluster object, for who runs in it. Every run has an id in the log. */
export function createJobContext(
  env: Env,
  job: string,
  publish?: (events: ClusterEvent[]) => Promise<void>,
): Authorized & SendContext {
  const vars = parseVars(env);
  const log = createLogger(vars.logLevel, { job, requestId: newId() });
  const objects = createObjects(env, vars);
  return {
    db: openDb(env, log),
    objects: publish === undefined ? objects : { ...objects, cluster: { ...objects.cluster, publish } },
    blobs: createBlobStore(env),
    vars,
    log,
    sealer: createSealer(env),
    outbound: createOutbound(env),
    now: nowIso,
    newId,
    principal: { protocol: 'unix', username: '', address: '', projects: null, member: null },
  };
}
