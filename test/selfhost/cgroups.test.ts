import { expect, test } from 'vitest';
import { cgroupsOf, parseHierarchies } from '#selfhost/playground/cgroups.ts';
import { usedOctets } from '#selfhost/playground/network.ts';

const HYBRID = `proc /proc proc rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /mnt/elsewhere/memory cgroup rw,memory 0 0
`;

test('finds every hierarchy of a hybrid machine', () => {
  expect(parseHierarchies(HYBRID)).toEqual({
    v1: ['/sys/fs/cgroup/cpu,cpuacct', '/sys/fs/cgroup/memory'],
    unified: '/sys/fs/cgroup/unified',
  });
});

test('gives the host’s own processes a leaf only where v2 stands alone', () => {
  expect(cgroupsOf(parseHierarchies(HYBRID), 'h').leaf).toBeNull();
  const pure = parseHierarchies('cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n');
  expect(cgroupsOf(pure, 'h')).toEqual({
    dirs: ['/sys/fs/cgroup/h'],
    procs: ['/sys/fs/cgroup/h/cgroup.procs'],
    leaf: '/sys/fs/cgroup/h/init.scope',
  });
});

test('sees which 10.x networks are in use', () => {
  const text = '2: eth0 inet 10.91.0.10/24 scope global\n10.7.0.0/16 via 10.91.0.1 dev eth0\n192.168.10.1 dev x';
  expect([...usedOctets(text)].sort()).toEqual([7, 91]);
});
