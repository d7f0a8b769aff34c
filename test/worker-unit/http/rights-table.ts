/** Who may use each route. A route that is missing here fails the test beside this file. */

/**
 * - `anyone`: no credential is needed; who looks decides what is seen.
 * - `own`: proven by a secret, signature or session of its own; the API's credentials are not looked at.
 * - `metrics`: trusted callers and credentials for metrics.
 * - `trusted`: any trusted caller, also one confined to projects.
 * - `project`: trusted callers, those confined in their projects only.
 * - `listing`: the same; of all projects, those confined get what is theirs.
 * - `admin`: trusted callers of all projects.
 *
 * Who may only look gets the `GET`s and `HEAD`s of what it is admitted to, without those marked by `!`.
 */
export type Right = 'anyone' | 'own' | 'metrics' | 'trusted' | 'project' | 'listing' | 'admin';

const instance: [string, Right][] = [
  ['GET', 'listing'],
  ['PUT POST', 'project'],
  ['GET PUT PATCH POST DELETE /:name', 'project'],
  ['GET PUT /:name/state', 'project'],
  ['GET /:name/placement', 'project'],
  ['POST /:name/exec', 'project'],
  ['POST /:name/rebuild', 'project'],
  ['GET POST DELETE /:name/console', 'project'],
  ['GET POST DELETE /:name/files', 'project'],
  // Files are written through it.
  ['GET! /:name/sftp', 'project'],
  ['GET /:name/logs', 'project'],
  ['GET DELETE /:name/logs/:file', 'project'],
  ['GET PUT PATCH /:name/metadata', 'project'],
  ['GET POST DELETE /:name/metadata/templates', 'project'],
  ['GET POST /:name/snapshots', 'project'],
  ['GET PUT PATCH POST DELETE /:name/snapshots/:item', 'project'],
  ['GET POST /:name/backups', 'project'],
  ['GET PUT PATCH POST DELETE /:name/backups/:item', 'project'],
];

const volume = '/1.0/storage-pools/:pool/volumes';

const ROUTES: [string, Right][] = [
  ['GET /', 'anyone'],
  ['GET /1.0', 'anyone'],
  ['PUT PATCH /1.0', 'admin'],
  ['GET /1.0/metrics', 'metrics'],
  ['GET /1.0/events', 'listing'],
  ['GET /1.0/operations', 'listing'],
  ['GET DELETE /1.0/operations/:id', 'trusted'],
  // A websocket's secret does as well, so the handler decides.
  ['GET /1.0/operations/:id/wait', 'trusted'],
  ['GET /1.0/operations/:id/websocket', 'own'],
  ['GET /1.0/auth/tokens', 'admin'],
  ['POST /1.0/auth/tokens', 'admin'],
  ['GET DELETE /1.0/auth/tokens/:id', 'admin'],
  ['GET POST /1.0/auth/users', 'admin'],
  ['GET PATCH DELETE /1.0/auth/users/:name', 'admin'],
  ['GET /1.0/certificates', 'trusted'],
  // Of an untrusted caller it takes a password or token.
  ['POST /1.0/certificates', 'admin'],
  ['GET /1.0/certificates/:fingerprint', 'trusted'],
  ['PUT PATCH DELETE /1.0/certificates/:fingerprint', 'admin'],
  ['GET /1.0/cluster', 'trusted'],
  ['PUT /1.0/cluster', 'admin'],
  ['GET /1.0/cluster/groups', 'trusted'],
  ['POST /1.0/cluster/groups', 'admin'],
  ['GET /1.0/cluster/groups/:name', 'trusted'],
  ['PUT PATCH POST DELETE /1.0/cluster/groups/:name', 'admin'],
  ['GET /1.0/cluster/members', 'trusted'],
  ['POST /1.0/cluster/members', 'admin'],
  ['GET /1.0/cluster/members/:name', 'trusted'],
  ['PUT PATCH POST DELETE /1.0/cluster/members/:name', 'admin'],
  ['GET /1.0/cluster/members/:name/state', 'trusted'],
  ['POST /1.0/cluster/members/:name/state', 'admin'],
  ['POST /1.0/cluster/members/:name/upgrade', 'admin'],
  ...['/1.0/instances', '/1.0/containers', '/1.0/virtual-machines'].flatMap((prefix) =>
    instance.map(([route, right]): [string, Right] => [
      route.includes('/') ? route.replace('/', `${prefix}/`) : `${route} ${prefix}`,
      right,
    ]),
  ),
  ['GET /1.0/images', 'anyone'],
  ['POST /1.0/images', 'project'],
  ['GET /1.0/images/:fingerprint', 'anyone'],
  ['PUT PATCH DELETE /1.0/images/:fingerprint', 'project'],
  ['GET /1.0/images/:fingerprint/export', 'anyone'],
  ['GET /1.0/images/aliases', 'anyone'],
  ['POST /1.0/images/aliases', 'project'],
  ['GET /1.0/images/aliases/:name', 'anyone'],
  ['PUT PATCH POST DELETE /1.0/images/aliases/:name', 'project'],
  ['GET /1.0/networks', 'project'],
  ['POST /1.0/networks', 'admin'],
  ['GET /1.0/networks/:name', 'project'],
  ['PUT PATCH POST DELETE /1.0/networks/:name', 'admin'],
  ['GET /1.0/networks/:name/leases', 'project'],
  ['GET /1.0/networks/:name/state', 'project'],
  ['GET /1.0/profiles', 'listing'],
  ['POST /1.0/profiles', 'project'],
  ['GET PUT PATCH POST DELETE /1.0/profiles/:name', 'project'],
  ['GET /1.0/projects', 'trusted'],
  ['POST /1.0/projects', 'admin'],
  ['GET /1.0/projects/:name', 'trusted'],
  ['PUT PATCH POST DELETE /1.0/projects/:name', 'admin'],
  ['GET /1.0/projects/:name/state', 'trusted'],
  ['GET /1.0/resources', 'trusted'],
  ['GET /1.0/storage-pools', 'project'],
  ['POST /1.0/storage-pools', 'admin'],
  ['GET /1.0/storage-pools/:pool', 'project'],
  ['PUT PATCH DELETE /1.0/storage-pools/:pool', 'admin'],
  ['GET /1.0/storage-pools/:pool/resources', 'project'],
  [`GET ${volume}`, 'listing'],
  [`POST ${volume}`, 'project'],
  [`GET ${volume}/:type`, 'listing'],
  [`POST ${volume}/:type`, 'project'],
  [`GET PUT PATCH POST DELETE ${volume}/:type/:name`, 'project'],
  [`GET POST ${volume}/:type/:name/backups`, 'project'],
  [`GET POST ${volume}/:type/:name/snapshots`, 'project'],
  [`GET ${volume}/:type/:name/state`, 'project'],
  ['GET /1.0/triggers', 'listing'],
  ['POST /1.0/triggers', 'project'],
  ['GET PUT PATCH DELETE /1.0/triggers/:name', 'project'],
  ['GET /1.0/triggers/:name/deliveries', 'project'],
  ['POST /1.0/triggers/:name/secret', 'project'],
  ['GET /1.0/warnings', 'admin'],
  ['GET PUT PATCH DELETE /1.0/warnings/:uuid', 'admin'],
  ['GET /1.0/webhooks', 'listing'],
  ['POST /1.0/webhooks', 'project'],
  ['GET PUT PATCH DELETE /1.0/webhooks/:name', 'project'],
  ['GET /1.0/webhooks/:name/deliveries', 'project'],
  ['GET /openapi.json', 'own'],
  ['GET /docs', 'own'],
  ['GET /healthz', 'own'],
  ['GET /readyz', 'own'],
  ['POST /hooks/:id', 'own'],
  ['GET /agent/link', 'own'],
  ['GET /agent/stream/:id', 'own'],
  ['GET PUT /agent/stream/:id/content', 'own'],
  ['GET /agent/stream/:id/peer', 'own'],
  ['POST /agent/stream/:id/outcome', 'own'],
  ['GET /agent/images/:fingerprint/:part', 'own'],
  ['GET /agent/release/:sha256', 'own'],
  ['GET /agent/backup', 'own'],
  ['GET PUT POST /agent/recovery', 'own'],
  ['POST /agent/join', 'own'],
  ['POST /agent/join/plan', 'own'],
  ['POST /agent/join/token', 'own'],
  ['GET /issuer/.well-known/openid-configuration', 'own'],
  ['GET /issuer/keys', 'own'],
  ['POST /issuer/device', 'own'],
  ['POST /issuer/token', 'own'],
  ['GET POST /issuer/login', 'own'],
  ['POST /issuer/login/decision', 'own'],
];

export interface RouteRight {
  method: string;
  path: string;
  right: Right;
  /** Of no use to who may only look. */
  changes: boolean;
}

/** One entry for each method of each path. */
export const ROUTE_RIGHTS: RouteRight[] = ROUTES.flatMap(([route, right]) => {
  const words = route.split(' ');
  const path = words.pop() ?? '';
  return words.map((word) => {
    const method = word.replace('!', '');
    return { method, path, right, changes: word.endsWith('!') || !['GET', 'HEAD'].includes(method) };
  });
});
