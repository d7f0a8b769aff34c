/** Specs with nothing surprising in them. */
import type { InstanceSpec, NetworkSpec, PoolSpec } from '#protocol/commands.ts';

export const poolSpec = (name = 'local'): PoolSpec => ({ name, driver: 'dir', config: {} });

export const networkSpec = (name = 'lxdbr0'): NetworkSpec => ({
  name,
  type: 'bridge',
  config: { 'ipv4.address': '10.1.2.1/24' },
  description: '',
});

/** A container with a root disk on `local` and one NIC on `lxdbr0`. */
export function instanceSpec(overrides: Partial<InstanceSpec> = {}): InstanceSpec {
  const devices = {
    root: { type: 'disk', path: '/', pool: 'local' },
    eth0: { type: 'nic', network: 'lxdbr0', name: 'eth0' },
  };
  return {
    project: 'default',
    name: 'c1',
    id: 'instance-1',
    type: 'container',
    architecture: 'x86_64',
    description: '',
    ephemeral: false,
    createdAt: '2026-11-21T00:00:00Z',
    profiles: ['default'],
    config: {},
    devices: {},
    expandedConfig: { 'volatile.eth0.hwaddr': '00:16:3e:00:00:01' },
    expandedDevices: devices,
    ...overrides,
  };
}

export const imageSource = (fingerprint = 'f'.repeat(64)) => ({
  fingerprint,
  parts: [{ name: 'unified' as const, sizeBytes: 100, filename: 'image.tar.gz' }],
});
