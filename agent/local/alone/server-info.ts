/** `GET /1.0` of a host on its own: what this one host is, and that it stands alone. */
import type { HostResources } from '#protocol/inventory.ts';
import { ALONE_TEXT } from './answers.ts';

/** The LXD release whose behaviour is followed. */
const SERVER_VERSION = '5.0.2';

/** What a host does by itself; clients say which one they miss for anything else. */
const API_EXTENSIONS = [
  'directory_manipulation',
  'container_cpu_time',
  'container_exec_signal_handling',
  'file_delete',
  'file_append',
  'file_symlinks',
  'file_get_symlink',
  'entity_description',
  'operation_description',
  'clustering',
  'container_full',
  'event_lifecycle',
  'event_location',
  'event_project',
  'projects',
  'container_exec_user_group_cwd',
  'instances',
  'instance_all_projects',
  'instance_get_full',
  'instance_nic_network',
  'api_filtering',
  'api_os',
];

export function describeAlone(host: { member: string; project: string; resources: HostResources }) {
  const { member, project, resources } = host;
  const drivers = resources.storageDrivers;
  return {
    // Where `lxc info` shows it first. Not a setting: nothing can be set here.
    config: { 'volatile.control_plane': ALONE_TEXT },
    api_extensions: API_EXTENSIONS,
    api_status: 'stable',
    api_version: '1.0',
    auth: 'trusted',
    public: false,
    auth_methods: ['tls'],
    auth_user_name: 'root',
    auth_user_method: 'unix',
    environment: {
      addresses: [],
      architectures: [resources.architecture],
      certificate: '',
      certificate_fingerprint: '',
      control_plane: ALONE_TEXT,
      driver: 'lxc',
      driver_version: resources.lxcVersion,
      firewall: 'nftables',
      kernel: resources.kernel,
      kernel_architecture: resources.architecture,
      kernel_features: {},
      kernel_version: resources.kernelVersion,
      lxc_features: {},
      os_name: resources.osName,
      os_version: resources.osVersion,
      project,
      server: 'lxd',
      server_clustered: true,
      server_event_mode: 'full-mesh',
      server_name: member,
      server_pid: process.pid,
      server_version: SERVER_VERSION,
      storage: drivers.map(({ name }) => name).join(' | '),
      storage_version: drivers.map(({ version }) => version).join(' | '),
      storage_supported_drivers: drivers.map(({ name, version }) => ({ Name: name, Version: version, Remote: false })),
    },
  };
}
