/** `GET /1.0`: what this server is, to those who may know (lxd-api 4). */
import type { HostResources } from '#protocol/inventory.ts';
import { API_EXTENSIONS } from '#worker/domain/api-extensions.ts';
import type { OidcMode } from '#worker/domain/oidc.ts';
import { listMembers } from '#worker/state/members.ts';
import { readOidcMode } from '#worker/state/oidc.ts';
import type { Authorized, Context } from './context.ts';
import { serverFingerprint } from './server-certificate.ts';
import { getServerConfig } from './server-config.ts';

/** The LXD release whose behaviour is followed; Terraform wants 5.0.0 or newer. */
const SERVER_VERSION = '5.0.2';

/** Containers of the second run on hosts of the first as well. */
const ARCHITECTURES: Record<string, string[]> = {
  x86_64: ['x86_64', 'i686'],
  aarch64: ['aarch64', 'armv7l'],
};

const common = (auth: 'trusted' | 'untrusted', oidc: OidcMode) => ({
  api_extensions: API_EXTENSIONS,
  api_status: 'stable',
  api_version: '1.0',
  auth,
  public: false,
  auth_methods: oidc === null ? ['tls'] : ['tls', 'oidc'],
});

/** All that an untrusted caller gets to know. */
export const describeToUntrusted = async (ctx: Context) => common('untrusted', await readOidcMode(ctx.db));

/** The whole answer, with the environment of the member that `scope` names, else of the first online one. */
export async function describeServer(ctx: Authorized, scope: string, project: string) {
  const [config, members, fingerprint, oidc] = await Promise.all([
    getServerConfig(ctx, scope),
    listMembers(ctx.db),
    serverFingerprint(ctx.vars),
    readOidcMode(ctx.db),
  ]);
  const member =
    members.find(({ name }) => name === scope) ?? members.find(({ online }) => online) ?? members.at(0) ?? null;
  return {
    // A restricted caller has no business with the server's own settings.
    config: ctx.principal.projects === null ? config : {},
    ...common('trusted', oidc),
    auth_user_name: ctx.principal.username,
    auth_user_method: ctx.principal.protocol,
    environment: {
      ...environmentOf(ctx, member?.resources ?? null),
      certificate: ctx.vars.serverCertificate,
      certificate_fingerprint: fingerprint ?? '',
      project,
      server_name: member?.name ?? 'longshore',
    },
  };
}

function environmentOf(ctx: Context, host: HostResources | null) {
  const drivers = host?.storageDrivers ?? [];
  const architecture = host?.architecture ?? '';
  return {
    addresses: ctx.vars.publicAddresses,
    architectures: ARCHITECTURES[architecture] ?? (architecture === '' ? [] : [architecture]),
    driver: 'lxc',
    driver_version: host?.lxcVersion ?? '',
    firewall: 'nftables',
    kernel: host?.kernel ?? '',
    kernel_architecture: architecture,
    kernel_features: {},
    kernel_version: host?.kernelVersion ?? '',
    lxc_features: {},
    os_name: host?.osName ?? '',
    os_version: host?.osVersion ?? '',
    server: 'lxd',
    server_clustered: true,
    server_event_mode: 'full-mesh',
    server_pid: 1,
    server_version: SERVER_VERSION,
    storage: drivers.map(({ name }) => name).join(' | '),
    storage_version: drivers.map(({ version }) => version).join(' | '),
    storage_supported_drivers: drivers.map(({ name, version }) => ({ Name: name, Version: version, Remote: false })),
  };
}
