import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLxcDriver } from '#agent/drivers/instance/lxc.ts';
import { createBridgeDriver } from '#agent/drivers/network/bridge.ts';
import type { NetworkDriver, NicRequest } from '#agent/drivers/network/driver.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { commandLine } from '#agent/system/proc.ts';
import { eventually } from '#test/eventually.ts';
import { collect, makeFixture, makeSetup } from '../instance/support.ts';

const name = 'lsrtbr0';
const network = {
  name,
  type: 'bridge' as const,
  description: '',
  config: { 'ipv4.address': '10.213.47.1/24', 'ipv4.nat': 'true', 'ipv6.address': 'none' } as Record<string, string>,
};
const none = { ipv4: null, ipv6: null };
const nic = (instance: string, last: number, more: Partial<NicRequest> = {}): NicRequest => ({
  instance,
  device: 'eth0',
  network: name,
  hwaddr: `00:16:3e:00:00:${String(last).padStart(2, '0')}`,
  ipv4Address: null,
  ipv6Address: null,
  ...more,
});

let base: string;
let deps: Parameters<typeof createBridgeDriver>[0];
let driver: NetworkDriver;
const FORWARD = '/proc/sys/net/ipv4/ip_forward';
const forwardBefore = readFileSync(FORWARD, 'utf8');

beforeAll(() => {
  base = mkdtempSync(join(os.tmpdir(), 'lsrt-net-'));
  chmodSync(base, 0o755);
  deps = { exec, dataDir: join(base, 'data'), runDir: join(base, 'run'), log: silentLog };
  driver = createBridgeDriver(deps);
});
afterEach(async () => {
  await driver.delete(name);
});
afterAll(() => {
  rmSync(base, { recursive: true, force: true });
  writeFileSync(FORWARD, forwardBefore);
});

const dnsmasqPid = () => Number(readFileSync(join(base, 'run/networks', `${name}.dnsmasq.pid`), 'utf8'));
const rules = async () => (await exec('nft', ['list', 'ruleset'])).stdout;
const hostFiles = () => readdirSync(join(base, 'data/networks', name, 'dnsmasq.hosts')).sort();

describe('creating a network', () => {
  it('brings bridge, address, DHCP and NAT up, and repeating it changes nothing', async () => {
    await driver.create(network, none);
    const pid = dnsmasqPid();
    const before = await rules();
    expect(before).toContain('ip saddr 10.213.47.0/24 ip daddr != 10.213.47.0/24 masquerade');
    expect(await driver.create(network, none)).toEqual({});
    expect(dnsmasqPid()).toBe(pid);
    expect(await rules()).toBe(before);
    expect(await driver.state(name)).toMatchObject({
      addresses: expect.arrayContaining([{ family: 'inet', address: '10.213.47.1', netmask: '24', scope: 'global' }]),
      mtu: 1500,
      state: 'up',
      type: 'broadcast',
      bridge: { stp: false, upper_devices: [] },
    });
  });

  it('takes the preferred subnet for auto, another when the host uses it, and keeps its choice', async () => {
    const auto = { ...network, config: { 'ipv4.address': 'auto', 'ipv6.address': 'none' } };
    expect(await driver.create(auto, { ipv4: '10.213.48.0/24', ipv6: null })).toEqual({
      'ipv4.address': '10.213.48.1/24',
      'ipv4.nat': 'true',
    });
    expect((await driver.create(auto, { ipv4: '10.213.49.0/24', ipv6: null }))['ipv4.address']).toBe('10.213.48.1/24');
    const second = { ...auto, name: 'lsrtbr1' };
    try {
      const decided = await driver.create(second, { ipv4: '10.213.48.0/24', ipv6: null });
      expect(decided['ipv4.address']).toMatch(/^10\.\d+\.\d+\.1\/24$/);
      expect(decided['ipv4.address']).not.toBe('10.213.48.1/24');
    } finally {
      await driver.delete('lsrtbr1');
    }
  });

  it('refuses an interface that it did not make, and leaves it alone', async () => {
    execFileSync('ip', ['link', 'add', 'lsrtbr2', 'type', 'bridge']);
    try {
      await expect(driver.create({ ...network, name: 'lsrtbr2' }, none)).rejects.toMatchObject({
        code: 'conflict',
        message: 'The network "lsrtbr2" already exists on the host and is not managed by Longshore',
      });
      await driver.delete('lsrtbr2');
      expect(existsSync('/sys/class/net/lsrtbr2')).toBe(true);
    } finally {
      execFileSync('ip', ['link', 'del', 'lsrtbr2']);
    }
  });

  it('leaves nothing behind when it fails', async () => {
    const bad = { ...network, config: { ...network.config, 'bridge.external_interfaces': 'lsrt-missing' } };
    await expect(driver.create(bad, none)).rejects.toThrow('Network interface "lsrt-missing" does not exist');
    expect(existsSync(`/sys/class/net/${name}`)).toBe(false);
    expect(existsSync(join(base, 'data/networks', name))).toBe(false);
  });
});

describe('changing a network', () => {
  it('moves the address, keeps the MAC, and takes ports in and out', async () => {
    await driver.create(network, none);
    const hwaddr = readFileSync(`/sys/class/net/${name}/address`, 'utf8');
    execFileSync('ip', ['link', 'add', 'lsrtv0', 'type', 'veth', 'peer', 'name', 'lsrtv1']);
    try {
      const config = { 'ipv4.address': '10.213.50.1/24', 'ipv4.nat': 'false', 'bridge.external_interfaces': 'lsrtv0' };
      await driver.update({ ...network, config });
      expect((await exec('ip', ['-o', '-4', 'address', 'show', 'dev', name])).stdout).toMatch(/ 10\.213\.50\.1\/24 /);
      expect((await exec('ip', ['-o', '-4', 'address', 'show', 'dev', name])).stdout).not.toContain('10.213.47.1');
      expect(await rules()).not.toContain('masquerade');
      expect(existsSync(`/sys/class/net/${name}/brif/lsrtv0`)).toBe(true);
      await driver.update({ ...network, config: { ...config, 'bridge.external_interfaces': '' } });
      expect(existsSync(`/sys/class/net/${name}/brif/lsrtv0`)).toBe(false);
      expect(readFileSync(`/sys/class/net/${name}/address`, 'utf8')).toBe(hwaddr);
    } finally {
      execFileSync('ip', ['link', 'del', 'lsrtv0']);
    }
  });
});

describe('routes behind a network', () => {
  it('are there as asked, and gone when they are no longer', async () => {
    await driver.create(network, none);
    const routes = async () =>
      (await exec('ip', ['-o', 'route', 'show', 'dev', name, 'proto', 'static'])).stdout.match(/^\S+/gm);
    const config = { ...network.config, 'ipv4.routes': '10.213.60.0/24,10.213.61.7/32' };
    await driver.update({ ...network, config });
    await driver.update({ ...network, config });
    expect(await routes()).toEqual(['10.213.60.0/24', '10.213.61.7']);
    await driver.update({ ...network, config: { ...config, 'ipv4.routes': '10.213.62.0/24' } });
    expect(await routes()).toEqual(['10.213.62.0/24']);
    await driver.update(network);
    expect(await routes()).toBeNull();
  });
});

describe('restore', () => {
  it('adopts what runs, and makes again what a reboot took', async () => {
    await driver.create(network, none);
    const { ipv4 } = await driver.reserve(nic('web', 1));
    const pid = dnsmasqPid();
    const next = createBridgeDriver(deps);
    await next.restore();
    expect(dnsmasqPid()).toBe(pid);
    process.kill(pid, 'SIGKILL');
    execFileSync('ip', ['link', 'del', name]);
    rmSync(join(base, 'run'), { recursive: true });
    await next.restore();
    expect(commandLine(dnsmasqPid())).not.toBeNull();
    expect(await next.leases(name)).toContainEqual({
      hostname: 'web',
      hwaddr: '00:16:3e:00:00:01',
      address: ipv4?.split('/')[0],
      type: 'dynamic',
    });
  });
});

describe('reservations', () => {
  it('give each NIC a free address, the same again for the same NIC', async () => {
    await driver.create(network, none);
    const first = await driver.reserve(nic('web', 1));
    expect(first).toEqual({
      bridge: name,
      mtu: 1500,
      ipv4: expect.stringMatching(/^10\.213\.47\.\d+\/24$/),
      ipv4Gateway: '10.213.47.1',
      ipv6: null,
      ipv6Gateway: null,
    });
    const many = await Promise.all([2, 3, 4, 5].map((last) => driver.reserve(nic(`c${last}`, last))));
    expect(new Set([first, ...many].map(({ ipv4 }) => ipv4)).size).toBe(5);
    expect(await driver.reserve(nic('web', 1))).toEqual(first);
    expect(await createBridgeDriver(deps).reserve(nic('web', 1))).toEqual(first);
  });

  it('check fixed addresses', async () => {
    await driver.create(network, none);
    await driver.reserve(nic('web', 1, { ipv4Address: '10.213.47.9' }));
    await expect(driver.reserve(nic('db', 2, { ipv4Address: '10.213.47.9' }))).rejects.toMatchObject({
      code: 'conflict',
    });
    for (const ipv4Address of ['10.213.48.9', '10.213.47.0', '10.213.47.255', '10.213.47.1', 'x', '10.213.47.9\n1']) {
      await expect(driver.reserve(nic('db', 2, { ipv4Address }))).rejects.toMatchObject({ code: 'bad_request' });
    }
    await expect(driver.reserve(nic('db', 1))).rejects.toMatchObject({ code: 'conflict' });
    expect(await driver.leases(name)).toContainEqual(
      expect.objectContaining({ address: '10.213.47.9', type: 'static', hostname: 'web' }),
    );
  });

  it('follow a renamed instance and are gone after release', async () => {
    await driver.create(network, none);
    await driver.reserve(nic('web', 1));
    await driver.renameInstance('web', 'www');
    expect(hostFiles()).toEqual(['www.eth0']);
    await driver.release('www', 'eth0');
    await driver.release('www', 'eth0');
    expect(hostFiles()).toEqual([]);
    expect((await driver.leases(name)).map(({ type }) => type)).toEqual(['gateway']);
  });

  it.each([
    ['an instance name with a newline', { instance: 'a\n00:00:00:00:00:00,10.213.47.99,evil' }],
    ['an instance name that leaves the directory', { instance: '../../evil' }],
    ['an option-like instance name', { instance: '-u' }],
    ['a MAC with a newline', { hwaddr: '00:16:3e:00:00:01\n,evil' }],
    ['a device with a newline', { device: 'eth0\n' }],
  ])('refuse %s', async (_, hostile) => {
    await driver.create(network, none);
    await expect(driver.reserve({ ...nic('web', 1), ...hostile })).rejects.toMatchObject({ code: 'bad_request' });
    expect(hostFiles()).toEqual([]);
  });
});

describe('a container on the bridge', () => {
  it('has its address at once, keeps it over DHCP, resolves names, and its lease ends with its NIC', async () => {
    const fixture = makeFixture();
    const instances = createLxcDriver(fixture.deps);
    const ref = { project: 'default', name: 'lsrt-net' };
    const run = async (command: string[]) =>
      collect(await instances.exec(ref, { command, environment: {}, user: 0, group: 0, cwd: '/', terminal: null }));
    try {
      await driver.create(
        { ...network, config: { ...network.config, 'ipv6.address': 'fd42:213:47:1::1/64', 'ipv6.nat': 'true' } },
        none,
      );
      await driver.reserve(nic('other', 1));
      const request = nic('lsrt-net', 2);
      const attachment = await driver.reserve(request);
      const address = attachment.ipv4?.split('/')[0] ?? 'none';
      expect(attachment.ipv6).toBe('fd42:213:47:1:216:3eff:fe00:2/64');
      const setup = makeSetup(fixture.volume, ref.name, {
        nics: [{ device: 'eth0', name: 'eth0', hwaddr: request.hwaddr, hostName: 'lsrtveth0', attachment }],
      });
      await instances.configure(setup);
      await instances.start(ref);
      expect((await instances.state(ref))?.network?.eth0).toMatchObject({
        addresses: expect.arrayContaining([
          { family: 'inet', address, netmask: '24', scope: 'global' },
          { family: 'inet6', address: 'fd42:213:47:1:216:3eff:fe00:2', netmask: '64', scope: 'global' },
        ]),
        hwaddr: request.hwaddr,
        hostName: 'lsrtveth0',
        mtu: 1500,
        state: 'up',
        type: 'broadcast',
      });
      expect((await run(['ping', '-c', '1', '-W', '2', '10.213.47.1'])).code).toBe(0);
      // A tiny client that only asks and prints.
      const asked = await run(['udhcpc', '-i', 'eth0', '-q', '-n', '-f', '-s', '/bin/true', '-x', 'hostname:forged']);
      expect(asked.stderr + asked.stdout).toContain(address);
      const lookUp = async (host: string) => (await run(['nslookup', `${host}.lxd`, '10.213.47.1'])).stdout;
      const [other] = (await driver.leases(name)).filter(({ hostname }) => hostname === 'other');
      expect(await lookUp('other')).not.toContain(other?.address);
      await driver.announce('other', true);
      await eventually(async () => expect(await lookUp('other')).toContain(other?.address));
      const far = { project: 'default', name: 'far', addresses: [{ network: name, address: '10.213.99.7' }] };
      await driver.serveNames([far]);
      await eventually(async () => expect(await lookUp('far')).toContain('10.213.99.7'));
      await driver.serveNames([]);
      await driver.announce('other', false);
      await eventually(async () => expect(await lookUp('far')).not.toContain('10.213.99.7'));
      await eventually(async () => expect(await lookUp('other')).not.toContain(other?.address));
      const leaseFile = join(base, 'data/networks', name, 'dnsmasq.leases');
      await eventually(() => expect(readFileSync(leaseFile, 'utf8')).toContain(address));
      const pid = dnsmasqPid();

      await instances.stop(ref, { force: true, timeoutMs: null });
      expect(existsSync('/sys/class/net/lsrtveth0')).toBe(false);
      await driver.release('lsrt-net', 'eth0');
      expect((await driver.leases(name)).map(({ address }) => address)).not.toContain(address);
      expect(readFileSync(leaseFile, 'utf8')).not.toContain(address);
      expect(dnsmasqPid()).toBe(pid);
      const next = await driver.reserve({ ...nic('next', 3), ipv4Address: address });
      expect(next.ipv4).toBe(attachment.ipv4);
    } finally {
      await fixture.cleanUp();
    }
  });
});

describe('deleting a network', () => {
  it('leaves no bridge, process, rule or file, and can be repeated', async () => {
    await driver.create(network, none);
    const pid = dnsmasqPid();
    await driver.delete(name);
    await driver.delete(name);
    expect(existsSync(`/sys/class/net/${name}`)).toBe(false);
    expect(commandLine(pid)).toBeNull();
    expect(await rules()).not.toContain(name);
    expect(existsSync(join(base, 'data/networks', name))).toBe(false);
    await expect(driver.leases(name)).rejects.toThrow('Network not found');
  });
});
