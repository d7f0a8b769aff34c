/** Which requests a host answers on its own, and how. Everything else is 503: only the control plane knows. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { InstanceExecPost, InstanceStatePut } from '#protocol/api/instance.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { getRecord } from '../../commands/instances.ts';
import { notHere, sendAsync, sendSync } from './answers.ts';
import type { AloneDeps } from './deps.ts';
import type { Execs } from './exec.ts';
import { serveFile } from './files.ts';
import { findInstance, findState, listInstances } from './instances.ts';
import type { Operations } from './operations.ts';
import { decodeName, readBody, readTarget, type Target } from './requests.ts';
import { describeAlone } from './server-info.ts';
import { changeState } from './state.ts';

export interface Api {
  deps: AloneDeps;
  operations: Operations;
  execs: Execs;
}

interface Call extends Target {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  /** The parts of the path that are names. */
  names: string[];
}

type Handler = (api: Api, call: Call) => Promise<void>;

const INSTANCES = '/1.0/(?:instances|containers)';
const route = (methods: string, path: string, handler: Handler) => ({
  methods: methods.split(' '),
  pattern: new RegExp(`^${path}$`),
  handler,
});

const refOf = ({ names, project }: Call): InstanceRef => {
  if (project === null) throw badRequest('A project is needed');
  return { project, name: names[0] ?? '' };
};

const ROUTES = [
  route('GET', '/', async (_api, { outgoing }) => sendSync(outgoing, ['/1.0'])),
  route('GET', '/1.0', async ({ deps }, { outgoing, project }) =>
    sendSync(
      outgoing,
      describeAlone({ member: deps.member, project: project ?? 'default', resources: await deps.resources() }),
    ),
  ),
  route('GET', INSTANCES, async ({ deps }, { outgoing, project, recursion, query }) => {
    const filter = query.get('filter') ?? '';
    sendSync(outgoing, await listInstances(deps, { project, recursion, filter }));
  }),
  route('GET', `${INSTANCES}/([^/]+)`, async ({ deps }, call) =>
    sendSync(call.outgoing, await findInstance(deps, refOf(call), call.recursion > 0)),
  ),
  route('GET', `${INSTANCES}/([^/]+)/state`, async ({ deps }, call) =>
    sendSync(call.outgoing, await findState(deps.host, refOf(call))),
  ),
  route('PUT', `${INSTANCES}/([^/]+)/state`, async ({ deps, operations }, call) =>
    sendAsync(
      call.outgoing,
      await changeState(deps, operations, refOf(call), await readBody(call.incoming, InstanceStatePut)),
    ),
  ),
  route('POST', `${INSTANCES}/([^/]+)/exec`, async ({ execs }, call) =>
    sendAsync(call.outgoing, await execs.start(refOf(call), await readBody(call.incoming, InstanceExecPost))),
  ),
  route('GET POST DELETE', `${INSTANCES}/([^/]+)/files`, async ({ deps }, call) =>
    serveFile(deps.host, refOf(call), call.query.get('path') ?? '', call.incoming, call.outgoing),
  ),
  route('GET', `${INSTANCES}/([^/]+)/logs/(lxc\\.log)`, async ({ deps }, call) => {
    getRecord(deps.host, refOf(call));
    const text = await deps.host.instances.readLog(refOf(call), call.names[1] ?? '');
    call.outgoing.writeHead(200, { 'content-type': 'application/octet-stream' }).end(text);
  }),
  route('GET', '/1.0/operations', async ({ operations }, { outgoing, project, recursion }) => {
    const groups: Record<string, unknown[]> = {};
    for (const operation of operations.list(project)) {
      const status = operation.status.toLowerCase();
      groups[status] = [...(groups[status] ?? []), recursion > 0 ? operation : `/1.0/operations/${operation.id}`];
    }
    sendSync(outgoing, groups);
  }),
  route('GET DELETE', '/1.0/operations/([^/]+)', async ({ operations }, { incoming, outgoing, names }) => {
    const operation = operations.find(names[0] ?? '');
    // One of before the link was lost is the control plane's.
    if (operation === null) throw notHere();
    if (incoming.method === 'GET') return sendSync(outgoing, operation);
    throw badRequest(
      operation.status_code < 200 ? "This operation can't be cancelled" : 'Only running operations can be cancelled',
    );
  }),
  route('GET', '/1.0/operations/([^/]+)/wait', async ({ operations }, { outgoing, names, query }) => {
    const seconds = Number(query.get('timeout') || -1);
    const limitMs = Number.isNaN(seconds) || seconds < 0 ? null : seconds * 1_000;
    const operation = await operations.wait(names[0] ?? '', limitMs);
    if (operation === null) throw notHere();
    sendSync(outgoing, operation);
  }),
];

/** Answers, or throws the error that is the answer. */
export async function serve(api: Api, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const target = readTarget(incoming);
  for (const { methods, pattern, handler } of ROUTES) {
    const match = methods.includes(incoming.method ?? '') ? pattern.exec(target.path) : null;
    if (match !== null) return handler(api, { ...target, incoming, outgoing, names: match.slice(1).map(decodeName) });
  }
  throw notHere();
}
