/** `PUT /1.0/cluster` on a host that is no member yet: forming and joining as stock programs ask for it (lxd-api 8.4). */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { badRequest } from '#protocol/errors.ts';
import { checkMemberName } from '#protocol/names.ts';
import { type FormDeps, formCluster } from '../init/form.ts';
import { fingerprintOfPem } from '../init/join-section.ts';
import { dropStaged, readStaged } from '../init/staged.ts';
import { type JoinOptions, joinCluster } from '../join/join.ts';
import type { JoinRight, KnownServer } from '../join/right.ts';
import { parseAnyToken } from '../join/token.ts';
import type { ClusterRequest } from './unjoined.ts';

export interface EnterOptions extends Omit<JoinOptions, 'right' | 'name' | 'first' | 'memberConfig' | 'expectedPools'> {
  dataDir: string;
  /** Where the right to be the first member may lie: the first file that is there counts. */
  bootstrapFiles: readonly string[];
  /** `server.crt` and `server.key`, by which `lxd init` made itself known to the cluster. */
  identityDir: string;
}

/** What the request means, checked; the work is not begun. Throws LXD's refusals. */
export function enterCluster(deps: FormDeps, options: EnterOptions, request: ClusterRequest) {
  if (!request.enabled) throw badRequest('This server is not clustered');
  if (request.server_name === '') throw badRequest('ServerName is required when enabling clustering');
  const refusal = checkMemberName(request.server_name);
  if (refusal !== null) throw badRequest(refusal);
  if (request.cluster_address === '') {
    const token = findBootstrap(options);
    return {
      description: 'Creating bootstrap node',
      work: async () => {
        const preseed = readStaged(options.dataDir);
        await formCluster(deps, { ...options, serverName: request.server_name, token, preseed });
        dropStaged(options.dataDir);
      },
    };
  }
  const right = rightOf(options, request);
  return {
    description: 'Joining cluster',
    work: async () => {
      await joinCluster(deps, { ...options, right, memberConfig: request.member_config });
      // The older form of a preseed repeats the cluster's pools and networks: they were only noted.
      dropStaged(options.dataDir);
    },
  };
}

function findBootstrap({ bootstrapFiles }: EnterOptions): string {
  const file = bootstrapFiles.find((path) => existsSync(path));
  if (file !== undefined) return readFileSync(file, 'utf8').trim();
  throw badRequest(`A cluster needs its control plane: put its file bootstrap.token at ${bootstrapFiles[0]}`);
}

function rightOf(options: EnterOptions, request: ClusterRequest): JoinRight {
  const { server_name: serverName, cluster_password: password } = request;
  const token = request.cluster_token || (isJoinToken(password) ? password : '');
  if (token !== '') return { kind: 'token', token };
  if (request.cluster_certificate === '') throw badRequest('No target cluster member certificate provided');
  const server: KnownServer = {
    addresses: [request.cluster_address],
    fingerprint: fingerprintOfPem(request.cluster_certificate),
  };
  if (password !== '') return { kind: 'password', serverName, password, server };
  const read = (name: string) => readFileSync(join(options.identityDir, name), 'utf8');
  return { kind: 'certificate', serverName, identity: { cert: read('server.crt'), key: read('server.key') }, server };
}

function isJoinToken(text: string): boolean {
  try {
    return parseAnyToken(text).server_name !== '';
  } catch {
    return false;
  }
}
