/** From an instance's set-up to its liblxc config. Pure but for looking at bind mount sources. */
import ipaddr from 'ipaddr.js';
import { badRequest } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
import { type ConfigKey, configLine, type NetKey } from './config-file.ts';
import { hostDevices } from './devices.ts';
import type { InstanceNic, InstanceSetup } from './driver.ts';
import { IDMAP_BASE, IDMAP_SIZE, isPrivileged } from './idmap.ts';
import { type LimitContext, limitsOf } from './limits.ts';

/** What the config needs to know of the host. */
export interface ConfigHost {
  limits: Omit<LimitContext, 'seed'>;
  /** Which control group files this host has: liblxc refuses to start over a limit it cannot write. */
  hasCgroupFile(version: 1 | 2, controller: string, file: string): boolean;
  hookPath: string;
  logDir: string;
  /** Distribution files of liblxc that exist here. */
  seccompProfile: string | null;
  nestingConfig: string | null;
  /**
   * Mounts lxcfs over /proc files, where it runs. Taken alone rather than by the distribution's include: that adds a hook
   * which sleeps half a second at every stop.
   */
  lxcfsHook: string | null;
}

/** Device nodes every container may use: null, zero, full, random, urandom, tty, console, ptmx, ptys, tun, fuse. */
const DEVICES = ['1:3', '1:5', '1:7', '1:8', '1:9', '5:0', '5:1', '5:2', '136:*', '10:200', '10:229'];
const MOUNTS = [
  '/dev/fuse dev/fuse none bind,create=file,optional 0 0',
  '/dev/net/tun dev/net/tun none bind,create=file,optional 0 0',
  '/sys/fs/fuse/connections sys/fs/fuse/connections none bind,optional 0 0',
  'mqueue dev/mqueue mqueue rw,relatime,create=dir,optional 0 0',
];
/** The sysctls that belong to a container's own namespaces; any other would change the host. */
const NAMESPACED_SYSCTL =
  /^(?:net\.[A-Za-z0-9_.-]+|kernel\.shm[a-z_]*|kernel\.msg[a-z_]*|kernel\.sem|fs\.mqueue\.[a-z_]+)$/;
const PRLIMIT_NAME = /^[a-z]{1,16}$/;
const PRLIMIT_VALUE = /^(?:\d{1,19}|unlimited)(?::(?:\d{1,19}|unlimited))?$/;
/** A host interface name's limit in the kernel. */
const IFNAME_MAX = 15;

type Add = (key: ConfigKey, value: string) => void;

function addBase(add: Add, setup: InstanceSetup, host: ConfigHost): void {
  const privileged = isPrivileged(setup);
  const nesting = isTrue(setup.spec.expandedConfig['security.nesting']);
  // Its extra mounts of proc and sys are for user namespaces; elsewhere the kernel refuses the second sysfs.
  if (nesting && !privileged && host.nestingConfig !== null) add('lxc.include', host.nestingConfig);
  add('lxc.rootfs.path', `dir:${setup.volumePath}/rootfs`);
  if (!privileged) {
    add('lxc.rootfs.options', 'idmap=container');
    for (const kind of ['u', 'g']) add('lxc.idmap', `${kind} 0 ${IDMAP_BASE} ${IDMAP_SIZE}`);
  }
  add('lxc.uts.name', setup.spec.name);
  add('lxc.mount.auto', 'proc:mixed sys:mixed cgroup:mixed');
  for (const mount of MOUNTS) add('lxc.mount.entry', mount);
  add('lxc.cap.drop', 'sys_time sys_module sys_rawio mac_admin mac_override');
  add('lxc.apparmor.profile', 'generated');
  if (nesting) add('lxc.apparmor.allow_nesting', '1');
  if (host.seccompProfile !== null) add('lxc.seccomp.profile', host.seccompProfile);
  add('lxc.tty.max', '0');
  add('lxc.pty.max', '1024');
  add('lxc.log.file', `${host.logDir}/lxc.log`);
  add('lxc.log.level', 'warn');
  add('lxc.console.logfile', `${host.logDir}/console.log`);
  add('lxc.console.size', '1MB');
  add('lxc.hook.version', '1');
  add('lxc.hook.start-host', host.hookPath);
  add('lxc.hook.post-stop', host.hookPath);
  if (host.lxcfsHook !== null) add('lxc.hook.mount', host.lxcfsHook);
}

/** With its broadcast address: liblxc 5.0 derives only the host part of it. */
export function withBroadcast(cidr: string): string {
  if (!ipaddr.IPv4.isValidCIDRFourPartDecimal(cidr))
    throw badRequest('Invalid devices: Address is not IPv4 with prefix');
  return `${cidr} ${ipaddr.IPv4.broadcastAddressFromCIDR(cidr).toString()}`;
}

/** Default routes are of the first NIC that has one: the kernel refuses a second, and liblxc then the whole start. */
export function withOneGateway(nics: readonly InstanceNic[]): InstanceNic[] {
  const first = {
    ipv4: nics.findIndex(({ attachment: { ipv4, ipv4Gateway } }) => ipv4 !== null && ipv4Gateway !== null),
    ipv6: nics.findIndex(({ attachment: { ipv6, ipv6Gateway } }) => ipv6 !== null && ipv6Gateway !== null),
  };
  return nics.map((nic, index) => {
    const { attachment } = nic;
    const ipv4Gateway = index === first.ipv4 ? attachment.ipv4Gateway : null;
    const ipv6Gateway = index === first.ipv6 ? attachment.ipv6Gateway : null;
    return { ...nic, attachment: { ...attachment, ipv4Gateway, ipv6Gateway } };
  });
}

function addNic(add: Add, index: number, nic: InstanceNic): void {
  const net = (key: NetKey, value: string) => add(`lxc.net.${index}.${key}`, value);
  if (nic.hostName.length > IFNAME_MAX) throw badRequest(`Invalid devices: Host name "${nic.hostName}" is too long`);
  const { attachment } = nic;
  net('type', 'veth');
  net('link', attachment.bridge);
  net('flags', 'up');
  net('name', nic.name);
  net('hwaddr', nic.hwaddr);
  net('veth.pair', nic.hostName);
  net('mtu', String(attachment.mtu));
  if (attachment.ipv4 !== null) net('ipv4.address', withBroadcast(attachment.ipv4));
  if (attachment.ipv4Gateway !== null) net('ipv4.gateway', attachment.ipv4Gateway);
  if (attachment.ipv6 !== null) net('ipv6.address', attachment.ipv6);
  if (attachment.ipv6Gateway !== null) net('ipv6.gateway', attachment.ipv6Gateway);
}

function addDeviceRules(add: Add, allowed: string[]): void {
  const rules = ['c *:* m', 'b *:* m', ...DEVICES.map((numbers) => `c ${numbers} rwm`), ...allowed];
  for (const family of ['lxc.cgroup', 'lxc.cgroup2'] as const) {
    add(`${family}.devices.deny`, 'a');
    for (const rule of rules) add(`${family}.devices.allow`, rule);
  }
}

function addLimits(add: Add, setup: InstanceSetup, host: ConfigHost, seed: string): void {
  for (const limits of limitsOf(setup.spec.expandedConfig, { ...host.limits, seed })) {
    if (!limits.limited) continue;
    for (const { file, value } of limits.v1) {
      if (host.hasCgroupFile(1, limits.controller, file)) add(`lxc.cgroup.${file}`, value);
    }
    for (const { file, value } of limits.v2) {
      if (host.hasCgroupFile(2, limits.controller, file)) add(`lxc.cgroup2.${file}`, value);
    }
  }
}

function addUserKeys(add: Add, config: Record<string, string>): void {
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('environment.')) {
      const name = key.slice('environment.'.length);
      if (!/^[^\s=\0]+$/.test(name)) throw badRequest(`Invalid config: Invalid environment variable name in "${key}"`);
      add('lxc.environment', `${name}=${value}`);
    } else if (key.startsWith('linux.sysctl.')) {
      const name = key.slice('linux.sysctl.'.length);
      if (!NAMESPACED_SYSCTL.test(name)) throw badRequest(`Invalid config: Sysctl "${name}" is not namespaced`);
      add(`lxc.sysctl.${name}`, value);
    } else if (key.startsWith('limits.kernel.')) {
      const name = key.slice('limits.kernel.'.length);
      if (!PRLIMIT_NAME.test(name) || !PRLIMIT_VALUE.test(value)) {
        throw badRequest(`Invalid config: Invalid value for "${key}": ${value}`);
      }
      add(`lxc.prlimit.${name}`, value);
    }
  }
}

/** The whole config file. `seed` is the container's name. Throws `bad_request` for anything that must not reach liblxc. */
export function renderConfig(setup: InstanceSetup, host: ConfigHost, seed: string): string {
  const lines: string[] = [];
  const add: Add = (key, value) => {
    lines.push(configLine(key, value));
  };
  addBase(add, setup, host);
  const devices = hostDevices(setup.spec, isPrivileged(setup));
  for (const mount of devices.mounts) add('lxc.mount.entry', mount);
  addDeviceRules(add, devices.allowed);
  withOneGateway(setup.nics).forEach((nic, index) => {
    addNic(add, index, nic);
  });
  addLimits(add, setup, host, seed);
  addUserKeys(add, setup.spec.expandedConfig);
  return lines.join('');
}
