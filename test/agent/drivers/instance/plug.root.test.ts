import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceNic } from '#agent/drivers/instance/driver.ts';
import { createFileInRoot, statInRoot } from '#agent/drivers/instance/files.ts';
import { collect, type Fixture, makeFixture, makeSetup } from './support.ts';

const ref = { project: 'default', name: 'lsrt-plug' };
const bridge = `lsrt${process.pid}`;
let fixture: Fixture;
let shared: string;

const setupWith = (devices: Record<string, Record<string, string>>, nics: InstanceNic[] = []) =>
  makeSetup(fixture.volume, ref.name, { devices, nics });
const inside = async (script: string) => {
  const request = { environment: {}, user: 0, group: 0, cwd: '', terminal: null };
  return collect(await fixture.driver.exec(ref, { ...request, command: ['sh', '-c', script] }));
};

beforeAll(async () => {
  execFileSync('ip', ['link', 'add', 'name', bridge, 'type', 'bridge']);
  fixture = makeFixture();
  shared = join(fixture.base, 'shared');
  mkdirSync(shared);
  writeFileSync(join(shared, 'hello'), 'from the host\n');
  // What a container may do to whom follows it.
  symlinkSync(fixture.base, join(fixture.volume, 'rootfs/trap'));
  await fixture.add(setupWith({}));
  await fixture.driver.start(ref);
});
afterAll(async () => {
  await fixture.cleanUp();
  execFileSync('ip', ['link', 'delete', bridge]);
});

describe('a disk of a running instance', () => {
  const disk = (path: string, more: Record<string, string> = {}) => ({ type: 'disk', source: shared, path, ...more });

  it('is there at once, also when asked for twice, and gone at once', async () => {
    for (const _ of [1, 2]) await fixture.driver.reconfigure(setupWith({ data: disk('/mnt/deep/data') }));
    expect((await inside('cat /mnt/deep/data/hello; grep -c /mnt/deep/data /proc/mounts')).stdout).toBe(
      'from the host\n1\n',
    );
    await fixture.driver.reconfigure(setupWith({}));
    expect((await inside('ls /mnt/deep/data')).stdout).toBe('');
  });

  it('takes the place that is asked for later, and its options', async () => {
    await fixture.driver.reconfigure(setupWith({ data: disk('/one') }));
    await fixture.driver.reconfigure(setupWith({ data: disk('/two', { readonly: 'true', shift: 'true' }) }));
    const { stdout } = await inside(
      'ls /one; cat /two/hello; touch /two/x 2>/dev/null || echo refused; stat -c %u /two/hello',
    );
    expect(stdout).toBe('from the host\nrefused\n0\n');
    await fixture.driver.reconfigure(setupWith({}));
  });

  it('is without what is mounted below its source, live and from the start, unless asked for', async () => {
    mkdirSync(join(shared, 'below'));
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(shared, 'below')]);
    try {
      writeFileSync(join(shared, 'below/secret'), '');
      for (const [devices, seen] of [
        [{ data: disk('/mnt/alone') }, ''],
        [{ data: disk('/mnt/alone', { recursive: 'true' }) }, 'secret\n'],
      ] as const) {
        await fixture.driver.reconfigure(setupWith(devices));
        expect((await inside('ls /mnt/alone/below')).stdout).toBe(seen);
        await fixture.driver.stop(ref, { force: true, timeoutMs: null });
        await fixture.driver.start(ref);
        expect((await inside('cat /mnt/alone/hello; ls /mnt/alone/below')).stdout).toBe(`from the host\n${seen}`);
        expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(`${fixture.deps.runDir}/disks`);
      }
      await fixture.driver.reconfigure(setupWith({}));
    } finally {
      execFileSync('umount', [join(shared, 'below')]);
    }
  });

  it('keeps to itself what the instance mounts there', async () => {
    execFileSync('mount', ['--bind', shared, shared]);
    execFileSync('mount', ['--make-shared', shared]);
    try {
      mkdirSync(join(shared, 'inner'), { recursive: true });
      await fixture.driver.reconfigure(setupWith({ data: disk('/mnt/own') }));
      expect((await inside('mount -t tmpfs none /mnt/own/inner && echo mounted')).stdout).toBe('mounted\n');
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(join(shared, 'inner'));
      await fixture.driver.reconfigure(setupWith({}));
    } finally {
      execFileSync('umount', [shared]);
    }
  });

  it('may be a file', async () => {
    const file = { type: 'disk', source: join(shared, 'hello'), path: '/etc/hello' };
    await fixture.driver.reconfigure(setupWith({ file }));
    expect((await inside('cat /etc/hello')).stdout).toBe('from the host\n');
    await fixture.driver.reconfigure(setupWith({}));
  });

  it('stays inside, whatever links the container has made', async () => {
    await fixture.driver.reconfigure(setupWith({ data: disk('/trap/escaped') })).catch(() => {});
    expect(existsSync(join(fixture.base, 'escaped'))).toBe(false);
    await fixture.driver.reconfigure(setupWith({}));
    expect((await inside('echo alive')).stdout).toBe('alive\n');
  });

  it('is refused when the host does not have its source', async () => {
    const missing = setupWith({ data: { type: 'disk', source: '/does/not/exist', path: '/mnt' } });
    await expect(fixture.driver.reconfigure(missing)).rejects.toThrow(
      'Failed add validation for device "data": Missing source path "/does/not/exist" for disk "data"',
    );
  });
});

describe('a change that waits for the next start', () => {
  it('leaves owners as they are for the instance that runs', async () => {
    await fixture.driver.reconfigure(
      makeSetup(fixture.volume, ref.name, { config: { 'security.privileged': 'true' } }),
    );
    const root = await fixture.driver.openRoot(ref, fixture.volume);
    closeSync(createFileInRoot(root, '/root/later', { uid: 0, gid: 0 }).fd);
    expect(statInRoot(root, '/root/later')).toMatchObject({ uid: 0, gid: 0 });
    root.close();
    expect((await inside('stat -c %u:%g /root/later')).stdout).toBe('0:0\n');
    await fixture.driver.reconfigure(setupWith({}));
  });
});

describe('a NIC of a running instance', () => {
  const nic: InstanceNic = {
    device: 'eth7',
    name: 'eth7',
    hwaddr: '00:16:3e:00:00:77',
    hostName: `lsv${process.pid}`,
    attachment: {
      bridge,
      mtu: 1400,
      ipv4: '10.77.0.2/24',
      ipv4Gateway: '10.77.0.1',
      ipv6: 'fd77::2/64',
      ipv6Gateway: null,
    },
  };

  it('is there at once with its addresses and route, also when asked for twice, and gone at once', async () => {
    for (const _ of [1, 2]) await fixture.driver.reconfigure(setupWith({}, [nic]));
    const { stdout } = await inside('ip -o a show dev eth7; ip link show eth7; ip route');
    expect(stdout).toContain('inet 10.77.0.2/24 brd 10.77.0.255');
    expect(stdout).toContain('inet6 fd77::2/64');
    expect(stdout).toMatch(/mtu 1400 .*\n.*00:16:3e:00:00:77/);
    expect(stdout).toContain('default via 10.77.0.1 dev eth7');
    await fixture.driver.reconfigure(setupWith({}));
    expect((await inside('ls /sys/class/net')).stdout).not.toContain('eth7');
    expect(existsSync(`/sys/class/net/${nic.hostName}`)).toBe(false);
  });

  it('keeps its addresses while it is in use, whatever its network gives it later', async () => {
    await fixture.driver.reconfigure(setupWith({}, [nic]));
    const index = async () => (await inside('cat /sys/class/net/eth7/ifindex')).stdout;
    const before = await index();
    const later = { ...nic, attachment: { ...nic.attachment, ipv4: '10.88.0.2/24', ipv4Gateway: null } };
    await fixture.driver.reconfigure(setupWith({}, [later]));
    expect(await index()).toBe(before);
    expect((await inside('ip -o -4 a show dev eth7')).stdout).toContain('10.77.0.2/24');
    await fixture.driver.reconfigure(setupWith({}));
  });

  it('is refused with its name when its bridge is not there', async () => {
    const lost = { ...nic, attachment: { ...nic.attachment, bridge: 'nobr' } };
    await expect(fixture.driver.reconfigure(setupWith({}, [lost]))).rejects.toThrow(
      'Failed to start device "eth7": Parent device "nobr" doesn\'t exist',
    );
  });
});
