/** Networks by every way the guides show, and what the hosts really have (walk-throughs A1, A5, A10, G4). */
import { afterAll, describe, expect, it } from 'vitest';
import { api } from '../api.ts';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, table, waitFor } from '../support.ts';

const HOSTS = [1, 2, 3] as const;

async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  expect({ args, stderr, code }).toEqual({ args, stderr: '', code: 0 });
  return stdout;
}

async function refused(args: string[], text: string): Promise<void> {
  expect(await lxc(...args)).toEqual({ stdout: expect.anything(), stderr: `Error: ${text}\n`, code: 1 });
}

/** Output of a program on a host; it must work. */
async function on(host: number, ...argv: string[]): Promise<string> {
  const { stdout, stderr, code } = await cluster.host(host).exec(argv);
  expect({ host, argv, stderr, code }).toMatchObject({ code: 0 });
  return stdout;
}

const dnsmasqOf = async (host: number, network: string) =>
  (await on(host, 'ps', '-eo', 'args')).split('\n').find((line) => line.includes(`--interface=${network} `)) ?? '';
const linkOf = async (host: number, name: string): Promise<{ master?: string; mtu: number }> =>
  JSON.parse(await on(host, 'ip', '-j', 'link', 'show', name))[0];
const rulesOf = (host: number) => on(host, 'nft', 'list', 'table', 'inet', 'longshore');
const has = async (host: number, network: string) =>
  (await cluster.host(host).exec(['ip', 'link', 'show', network])).code === 0;
const row = async (network: string) =>
  table((await lxc('network', 'list')).stdout).rows.find(([cell]) => cell === network);

/** Interface names have at most 15 characters. */
const networkName = () =>
  `n${newName('')
    .replace(/[^0-9a-z]/g, '')
    .slice(0, 7)}`;
const made: string[] = [];
const newNetwork = () => {
  const name = networkName();
  made.push(name);
  return name;
};
const instances: string[] = [];

afterAll(async () => {
  await removeInstances(instances);
  for (const name of made) await lxc('network', 'delete', name);
  for (const host of HOSTS) {
    await cluster
      .host(host)
      .startAgent()
      .catch(() => {});
    for (const name of ['ext0', 'uplink0']) await cluster.host(host).exec(['ip', 'link', 'delete', name]);
  }
});

describe('a network made in one step', () => {
  it('is on every host with its address, DHCP and NAT, and gone after its deletion', async () => {
    const name = newNetwork();
    expect(await ok('network', 'create', name, 'ipv6.address=none', 'ipv4.address=10.44.7.1/24', 'ipv4.nat=true')).toBe(
      `Network ${name} created\n`,
    );
    expect(await row(name)).toEqual([name, 'bridge', 'YES', '10.44.7.1/24', 'none', '', '0', 'CREATED']);
    for (const host of HOSTS) {
      expect(await on(host, 'ip', '-o', 'address', 'show', 'dev', name)).toContain('inet 10.44.7.1/24');
      expect(await dnsmasqOf(host, name)).toContain('--dhcp-range 10.44.7.2,10.44.7.254,1h');
      expect(await rulesOf(host)).toContain('ip saddr 10.44.7.0/24 ip daddr != 10.44.7.0/24 masquerade');
    }
    expect(await ok('network', 'show', name)).toBe(
      [
        'config:',
        '  ipv4.address: 10.44.7.1/24',
        '  ipv4.nat: "true"',
        '  ipv6.address: none',
        'description: ""',
        `name: ${name}`,
        'type: bridge',
        'used_by: []',
        'managed: true',
        'status: Created',
        'locations:',
        '- host1',
        '- host2',
        '- host3',
        '',
      ].join('\n'),
    );
    await refused(['network', 'create', name], 'The network is already created');
    expect(await ok('network', 'delete', name)).toBe(`Network ${name} deleted\n`);
    for (const host of HOSTS) {
      expect(await has(host, name)).toBe(false);
      expect(await dnsmasqOf(host, name)).toBe('');
    }
  });

  it('has another free subnet on each host when its address is auto', async () => {
    const name = newNetwork();
    await ok('network', 'create', name);
    expect((await row(name))?.slice(3, 5)).toEqual(['auto', 'auto']);
    const addresses = await Promise.all(
      HOSTS.map(async (host) => {
        const { config } = (await lxcJson('query', `/1.0/networks/${name}?target=host${host}`)) as {
          config: Record<string, string>;
        };
        const there = await on(host, 'ip', '-o', 'address', 'show', 'dev', name);
        expect(there).toContain(`inet ${config['ipv4.address']}`);
        expect(there).toContain(`inet6 ${config['ipv6.address']}`);
        return [config['ipv4.address'], config['ipv6.address']];
      }),
    );
    expect(new Set(addresses.flat()).size).toBe(6);
    await ok('network', 'delete', name);
  });

  it.each([
    [['ipv4.address=10.0.0.0/33'], /Invalid value for network/],
    [['bridge.mtu=12'], /Invalid value for network .* option "bridge.mtu"/],
    [['no.such=key'], /Invalid option for network .* option "no.such"/],
    [['ipv4.address=10.44.8.1/24', 'ipv4.dhcp.ranges=10.44.9.2-10.44.9.9'], /Range is outside/],
  ])('is refused for %j and nothing is made', async (keys, text) => {
    const name = networkName();
    const { stderr, code } = await lxc('network', 'create', name, ...keys);
    expect(code).toBe(1);
    expect(stderr).toMatch(text);
    expect(await row(name)).toBeUndefined();
    for (const host of HOSTS) expect(await has(host, name)).toBe(false);
  });
});

describe('a network made in two steps', () => {
  it('is pending member by member, takes member-specific keys only, and then is made everywhere', async () => {
    const name = newNetwork();
    await on(2, 'ip', 'link', 'add', 'ext0', 'type', 'veth', 'peer', 'name', 'ext0-far');
    expect(await ok('network', 'create', name, '--target', 'host1')).toBe(`Network ${name} pending on member host1\n`);
    await refused(['network', 'create', name, '--target', 'host1'], 'The network is already defined on member "host1"');
    await refused(
      ['network', 'create', name, '--target', 'host2', 'ipv4.address=10.0.0.1/24'],
      'Config key "ipv4.address" may not be used as member-specific key',
    );
    await refused(['network', 'create', name, '--target', 'nope'], 'Cluster member not found');
    await ok('network', 'create', name, '--target', 'host2', 'bridge.external_interfaces=ext0');
    await refused(['network', 'create', name], 'Network not defined on nodes: host3');
    expect((await row(name))?.at(-1)).toBe('PENDING');
    expect((await lxcJson('query', `/1.0/networks/${name}`)) as object).toMatchObject({
      status: 'Pending',
      locations: ['host1', 'host2'],
    });
    await ok('network', 'create', name, '--target', 'host3');
    await refused(
      ['network', 'create', name, 'bridge.external_interfaces=ext0'],
      'Config key "bridge.external_interfaces" is cluster member specific',
    );
    expect(await ok('network', 'create', name, 'ipv4.address=10.44.9.1/24', 'ipv6.address=none')).toBe(
      `Network ${name} created\n`,
    );
    expect((await row(name))?.at(-1)).toBe('CREATED');
    expect(await linkOf(2, 'ext0')).toMatchObject({ master: name });
    expect(await ok('network', 'show', name, '--target', 'host2')).toContain('bridge.external_interfaces: ext0');
    expect(await ok('network', 'show', name)).not.toContain('external_interfaces');

    // Given back, on the live network and with it.
    await ok('network', 'unset', name, 'bridge.external_interfaces', '--target', 'host2');
    expect((await linkOf(2, 'ext0')).master).toBeUndefined();
    await ok('network', 'set', name, 'bridge.external_interfaces', 'ext0', '--target', 'host2');
    expect(await linkOf(2, 'ext0')).toMatchObject({ master: name });
    await ok('network', 'delete', name);
    expect((await linkOf(2, 'ext0')).master).toBeUndefined();
  });

  it('fails as a whole where an interface is not there, and can be repeated', async () => {
    const name = newNetwork();
    for (const host of HOSTS) {
      const own = host === 3 ? ['bridge.external_interfaces=uplink0'] : [];
      await ok('network', 'create', name, '--target', `host${host}`, ...own);
    }
    const { stderr, code } = await lxc('network', 'create', name, 'ipv4.address=10.44.10.1/24', 'ipv6.address=none');
    expect(code).toBe(1);
    expect(stderr).toContain('Network interface "uplink0" does not exist');
    expect((await row(name))?.at(-1)).toBe('ERRORED');
    await on(3, 'ip', 'link', 'add', 'uplink0', 'type', 'veth', 'peer', 'name', 'uplink0-far');
    await ok('network', 'create', name);
    expect((await row(name))?.at(-1)).toBe('CREATED');
    expect(await linkOf(3, 'uplink0')).toMatchObject({ master: name });
    await ok('network', 'delete', name);
  });
});

describe('the keys of a network', () => {
  it('are in effect on every host as soon as they are changed', async () => {
    const name = newNetwork();
    await ok('network', 'create', name, 'ipv4.address=10.44.11.1/24', 'ipv6.address=fd44:b::1/64');
    const set = (...keys: string[]) => ok('network', 'set', name, ...keys);
    for (const host of HOSTS) expect(await rulesOf(host)).not.toContain('10.44.11.0/24 masquerade');

    await set('bridge.mtu=1400', 'ipv4.nat=true', 'ipv6.nat=true', 'ipv4.dhcp.ranges=10.44.11.50-10.44.11.60');
    for (const host of HOSTS) {
      expect((await linkOf(host, name)).mtu).toBe(1400);
      expect(await rulesOf(host)).toMatch(/ip saddr 10\.44\.11\.0\/24 .*masquerade/);
      expect(await rulesOf(host)).toMatch(/ip6 saddr fd44:b::\/64 .*masquerade/);
      expect(await dnsmasqOf(host, name)).toContain('--dhcp-range 10.44.11.50,10.44.11.60,1h');
      expect(await dnsmasqOf(host, name)).toContain('ra-stateless');
    }
    const instance = newName('ranged');
    instances.push(instance);
    await ok('launch', 'tiny', instance, '-n', name);
    const { stdout } = await lxc('list', instance, '-c', '4', '--format', 'csv');
    expect(stdout).toMatch(/^10\.44\.11\.(5\d|60) \(eth0\)/);
    expect(await ok('exec', instance, '--', 'cat', '/sys/class/net/eth0/mtu')).toBe('1400\n');
    await refused(['network', 'delete', name], 'The network is currently in use');
    await ok('delete', '-f', instance);

    await set('dns.domain=corp.example', 'ipv6.dhcp.stateful=true');
    for (const host of HOSTS) expect(await dnsmasqOf(host, name)).toContain('-S /corp.example/');
    for (const host of HOSTS) expect(await dnsmasqOf(host, name)).not.toContain('ra-stateless');
    await set('dns.mode=none', 'ipv4.dhcp=false', 'ipv6.dhcp=false', 'ipv4.nat=false');
    for (const host of HOSTS) {
      const dnsmasq = await dnsmasqOf(host, name);
      expect(dnsmasq).not.toContain('-S /');
      expect(dnsmasq).not.toContain('10.44.11.50');
      expect(dnsmasq).toContain('ra-only');
      expect(await rulesOf(host)).not.toMatch(/ip saddr 10\.44\.11\.0\/24 .*masquerade/);
    }
    await ok('network', 'unset', name, 'bridge.mtu');
    await set('ipv4.address=10.44.12.1/24', 'ipv4.dhcp.ranges=');
    for (const host of HOSTS) {
      expect((await linkOf(host, name)).mtu).toBe(1500);
      const there = await on(host, 'ip', '-o', 'address', 'show', 'dev', name);
      expect(there).toContain('inet 10.44.12.1/24');
      expect(there).not.toContain('10.44.11.1');
    }
    await ok('network', 'delete', name);
  });
});

describe('a host that is off', () => {
  it('holds up no network, and has it soon after its return', async () => {
    const [kept, gone] = [newNetwork(), newNetwork()];
    await ok('network', 'create', gone, 'ipv4.address=none', 'ipv6.address=none');
    await cluster.host(3).stopAgent();
    await waitFor('host3 to be offline', async () =>
      (await ok('cluster', 'list')).match(/host3.*OFFLINE/) ? true : undefined,
    );
    await ok('network', 'create', kept, 'ipv4.address=10.44.13.1/24', 'ipv6.address=none');
    await ok('network', 'set', kept, 'bridge.mtu=1450');
    await ok('network', 'delete', gone);
    expect(await has(1, kept)).toBe(true);
    expect(await has(3, kept)).toBe(false);
    const there = (await lxcJson('query', `/1.0/networks/${kept}?target=host3`)) as { status: string };
    expect(there.status).toBe('Pending');
    expect((await row(kept))?.at(-1)).toBe('CREATED');

    await cluster.host(3).startAgent();
    await waitFor('the network on host3', async () => ((await has(3, kept)) ? true : undefined), 10_000);
    await waitFor('its MTU', async () => ((await linkOf(3, kept)).mtu === 1450 ? true : undefined), 10_000);
    await waitFor('the other to go', async () => ((await has(3, gone)) ? undefined : true), 10_000);
    await waitFor('its state', async () =>
      ((await lxcJson('query', `/1.0/networks/${kept}?target=host3`)) as { status: string }).status === 'Created'
        ? true
        : undefined,
    );
    await ok('network', 'delete', kept);
  });
});

describe('an interface that is not managed', () => {
  it('is listed on the host that has it, and carries NICs', async () => {
    const instance = newName('unmanaged');
    instances.push(instance);
    await on(2, 'ip', 'link', 'add', 'uplink0', 'type', 'bridge');
    await on(2, 'ip', 'link', 'set', 'uplink0', 'up');
    const listed = async () => {
      const { stdout } = await cluster.host(2).exec(['lxc', 'network', 'list']);
      return table(stdout).rows.find(([cell]) => cell === 'uplink0');
    };
    expect(await waitFor('the bridge to be listed', listed, 10_000)).toEqual([
      'uplink0',
      'bridge',
      'NO',
      '',
      '',
      '',
      '0',
      '',
    ]);
    expect(await row('uplink0')).toBeUndefined();
    const byTarget = (target: string) =>
      lxcJson('query', `/1.0/networks?recursion=1&target=${target}`) as Promise<{ name: string; type: string }[]>;
    expect(await byTarget('host2')).toContainEqual(expect.objectContaining({ name: 'uplink0', managed: false }));
    expect(await byTarget('host1')).not.toContainEqual(expect.objectContaining({ name: 'uplink0' }));
    expect(await byTarget('host1')).toContainEqual(expect.objectContaining({ name: 'lo', type: 'loopback' }));

    await ok('launch', 'tiny', instance, '-n', 'uplink0', '--target', 'host2');
    expect((await instancesOf([instance]))[0]?.devices.eth0).toMatchObject({ nictype: 'bridged', parent: 'uplink0' });
    expect((await on(2, 'ls', '/sys/class/net/uplink0/brif')).trim()).toMatch(/^veth/);
    expect(await ok('network', 'show', 'uplink0', '--target', 'host2')).toBe(
      [
        'config: {}',
        'description: ""',
        'name: uplink0',
        'type: bridge',
        'used_by:',
        `- /1.0/instances/${instance}`,
        'managed: false',
        'status: ""',
        'locations: []',
        '',
      ].join('\n'),
    );
    expect((await listed())?.[6]).toBe('1');
    // Whoever gives it an address there: every host knows the name.
    await ok('exec', instance, '--', 'ip', 'address', 'add', '192.0.2.77/24', 'dev', 'eth0');
    for (const host of HOSTS) {
      await waitFor(`host${host} to know the name`, async () => {
        const { stdout } = await cluster.host(host).exec(['getent', 'hosts', instance]);
        return stdout.startsWith('192.0.2.77 ') ? true : undefined;
      });
    }
    expect(await ok('network', 'info', 'uplink0', '--target', 'host2')).toMatch(/^Name: uplink0\nMAC address: /);
    await refused(['network', 'create', 'uplink0'], 'The network already exists');
    const put = await api({ method: 'PUT', path: '/1.0/networks/uplink0', body: '{"config":{}}' });
    expect(put.status).toBe(404);
    await removeInstances([instance]);
    await on(2, 'ip', 'link', 'delete', 'uplink0');
    await waitFor('it to be gone', async () => ((await listed()) === undefined ? true : undefined), 10_000);
  });
});
