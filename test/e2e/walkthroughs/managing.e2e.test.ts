/** Managing the members of a running cluster, as LXD's guide and the tutorials type it (walk-throughs F1-F3, B6, C1). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClusterHost } from '#test/harness/cluster.ts';
import { api } from '../api.ts';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, table, waitFor } from '../support.ts';

interface Member {
  server_name: string;
  status: string;
  message: string;
  groups: string[];
  roles: string[];
}

const URL = '/1.0/cluster/members';
const members = async () => (await lxcJson('query', `${URL}?recursion=1`)) as Member[];
const memberNames = async () => (await members()).map(({ server_name }) => server_name).sort();
const statusOf = async (name: string) => (await members()).find(({ server_name }) => server_name === name)?.status;
const becomes = (name: string, status: string | undefined, limitMs?: number) =>
  waitFor(
    `${name} to be ${status ?? 'gone'}`,
    async () => ((await statusOf(name)) === status ? true : undefined),
    limitMs,
  );

/** The row of a member in `lxc cluster list`, by column. */
async function listed(name: string): Promise<Record<string, string>> {
  const { header, rows } = table((await lxc('cluster', 'list')).stdout);
  // Roles stand below each other, in rows without a name.
  const first = rows.findIndex(([cell]) => cell === name);
  const next = rows.findIndex(([cell], index) => index > first && cell !== '');
  const own = first === -1 ? [] : rows.slice(first, next === -1 ? undefined : next);
  return Object.fromEntries(
    header.map((column, index) => [
      column,
      own
        .map((cells) => cells[index] ?? '')
        .filter(Boolean)
        .join(' '),
    ]),
  );
}

async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  expect({ args, stderr, code }).toEqual({ args, stderr: '', code: 0 });
  return stdout;
}

async function refused(args: string[], text: string | RegExp): Promise<void> {
  const { stderr, code } = await lxc(...args);
  expect(code, args.join(' ')).toBe(1);
  if (typeof text === 'string') expect(stderr).toBe(`Error: ${text}\n`);
  else expect(stderr).toMatch(text);
}

const launch = (name: string, ...args: string[]) => ok('launch', 'tiny', name, ...args);
const locationOf = async (name: string) => (await instancesOf([name]))[0]?.location;

describe('a member', () => {
  afterAll(async () => {
    await lxc('cluster', 'role', 'remove', 'host1', 'event-hub');
    const tidy = { description: '', failure_domain: 'default', groups: ['default'], config: {}, roles: ['database'] };
    await api({ method: 'PUT', path: `${URL}/host1`, body: JSON.stringify(tidy) });
  });

  it('is shown by lxc cluster show with LXD’s keys', async () => {
    const shown = await ok('cluster', 'show', 'host1');
    const keys = [...shown.matchAll(/^(\w+):/gm)].map(([, key]) => key).sort();
    expect(keys).toEqual([
      'architecture',
      'config',
      'database',
      'description',
      'failure_domain',
      'groups',
      'message',
      'roles',
      'server_name',
      'status',
      'url',
    ]);
    expect(shown).toMatch(/^status: Online$/m);
    await refused(['cluster', 'show', 'nope'], 'Cluster member not found');
  });

  it('takes a description and a failure domain by lxc cluster edit, and lists them', async () => {
    const shown = await ok('cluster', 'show', 'host1');
    const input = shown
      .replace(/^description: .*$/m, 'description: first')
      .replace(/^failure_domain: .*$/m, 'failure_domain: rack1');
    const { code, stderr } = await cluster.lxc(['cluster', 'edit', 'host1'], { input });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await listed('host1')).toMatchObject({ 'FAILURE DOMAIN': 'rack1', DESCRIPTION: 'first', STATE: 'ONLINE' });
  });

  it('takes and gives up roles; automatic ones are not the user’s', async () => {
    await ok('cluster', 'role', 'add', 'host1', 'event-hub');
    expect((await listed('host1')).ROLES).toBe('database event-hub');
    await ok('cluster', 'role', 'remove', 'host1', 'event-hub');
    expect((await listed('host1')).ROLES).toBe('database');
    await refused(
      ['cluster', 'role', 'add', 'host1', 'database-leader'],
      'The "database-leader" role cannot be added at this time',
    );
    await refused(
      ['cluster', 'role', 'remove', 'host1', 'database'],
      'The "database" role cannot be dropped at this time',
    );
  });

  it('keeps its configuration keys, and refuses others', async () => {
    await ok('cluster', 'set', 'host1', 'user.rack', 'r1');
    expect(await ok('cluster', 'get', 'host1', 'user.rack')).toBe('r1\n');
    await ok('cluster', 'unset', 'host1', 'user.rack');
    await refused(['cluster', 'set', 'host1', 'nope', '1'], 'Invalid cluster configuration key "nope"');
    await refused(['cluster', 'set', 'host1', 'scheduler.instance', 'never'], /not one of \[all group manual\]/);
  });

  it('tells its load, memory and storage', async () => {
    const state = await waitFor('host1 to tell its figures', async () => {
      const told = (await lxcJson('query', `${URL}/host1/state`)) as {
        sysinfo: Record<string, number>;
        storage_pools: Record<string, { space: { total: number } }>;
      };
      return Object.keys(told.storage_pools).length > 0 ? told : undefined;
    });
    expect(Object.keys(state.sysinfo).sort()).toEqual([
      'buffered_ram',
      'free_ram',
      'free_swap',
      'load_averages',
      'logical_cpus',
      'processes',
      'shared_ram',
      'total_ram',
      'total_swap',
      'uptime',
    ]);
    expect(state.sysinfo.total_ram).toBeGreaterThan(2 ** 28);
    expect(state.sysinfo.uptime).toBeGreaterThan(0);
    for (const pool of Object.values(state.storage_pools)) expect(pool.space.total).toBeGreaterThan(0);
    await refused(['query', `${URL}/nope/state`], 'Cluster member not found');
  });

  it('counts as away after cluster.offline_threshold, which is LXD’s', async () => {
    await refused(['config', 'set', 'cluster.offline_threshold', '5'], /Value must be greater than '10'/);
    await refused(['config', 'set', 'cluster.offline_threshold', 'soon'], /Offline threshold is not a number/);
    await ok('config', 'set', 'cluster.offline_threshold', '11');
    expect(await ok('config', 'get', 'cluster.offline_threshold')).toBe('11\n');
    await ok('config', 'unset', 'cluster.offline_threshold');
  });
});

describe('cluster groups', () => {
  const [group, other] = [newName('g'), newName('g')];
  const names: string[] = [];
  afterAll(async () => {
    await removeInstances(names);
    for (const host of ['host1', 'host2']) {
      await lxc('cluster', 'unset', host, 'scheduler.instance');
      await lxc('cluster', 'group', 'assign', host, 'default');
    }
    for (const name of [group, other]) await lxc('cluster', 'group', 'delete', name);
  });

  it('are created, filled, shown and listed', async () => {
    expect(await ok('cluster', 'group', 'create', group)).toBe(`Cluster group ${group} created\n`);
    expect(await ok('cluster', 'group', 'assign', 'host2', `default,${group}`)).toBe(
      `Cluster member host2 added to cluster groups default,${group}\n`,
    );
    expect(await ok('cluster', 'group', 'show', group)).toBe(`description: ""\nmembers:\n- host2\nname: ${group}\n`);
    const { header, rows } = table(await ok('cluster', 'group', 'list'));
    expect(header).toEqual(['NAME', 'DESCRIPTION', 'MEMBERS']);
    expect(rows).toContainEqual(['default', 'Default cluster group', String((await members()).length)]);
    expect(rows).toContainEqual([group, '', '1']);
    await refused(['cluster', 'group', 'create', group], /already exists/);
    await refused(['cluster', 'group', 'show', 'nope'], 'Cluster group not found');
    await refused(['cluster', 'group', 'assign', 'host2', 'nope'], 'Cluster group not found');
  });

  it('take the instances that name them', async () => {
    const name = newName('in-group');
    names.push(name);
    await launch(name, '--target', `@${group}`);
    expect(await locationOf(name)).toBe('host2');
  });

  it('are the only way to a member with scheduler.instance=group, as its name is with manual', async () => {
    const [free, grouped, named] = [newName('free'), newName('grouped'), newName('named')];
    names.push(free, grouped, named);
    await ok('cluster', 'set', 'host2', 'scheduler.instance', 'group');
    await ok('cluster', 'set', 'host1', 'scheduler.instance', 'manual');
    await launch(free);
    expect(await locationOf(free)).toBe('host3');
    await launch(grouped, '--target', `@${group}`);
    expect(await locationOf(grouped)).toBe('host2');
    await launch(named, '--target', 'host1');
    expect(await locationOf(named)).toBe('host1');
    for (const host of ['host1', 'host2']) await ok('cluster', 'unset', host, 'scheduler.instance');
  });

  it('take another name and description, are emptied and deleted', async () => {
    const { code } = await cluster.lxc(['cluster', 'group', 'edit', group], {
      input: 'description: hello\nmembers: [host2]\n',
    });
    expect(code).toBe(0);
    expect(await ok('cluster', 'group', 'rename', group, other)).toBe(`Cluster group ${group} renamed to ${other}\n`);
    expect(await ok('cluster', 'group', 'show', other)).toMatch(/^description: hello$/m);
    await refused(['cluster', 'group', 'delete', other], 'Only empty cluster groups can be removed');
    expect(await ok('cluster', 'group', 'remove', 'host2', other)).toBe(
      `Cluster member host2 removed from group ${other}\n`,
    );
    expect(await ok('cluster', 'group', 'delete', other)).toBe(`Cluster group ${other} deleted\n`);
    await refused(['cluster', 'group', 'rename', 'default', 'x'], 'The "default" group cannot be renamed');
    await refused(['cluster', 'group', 'delete', 'default'], "The 'default' cluster group cannot be deleted");
    await refused(
      ['cluster', 'group', 'remove', 'host2', 'default'],
      'Cluster members need to belong to at least one group',
    );
  });
});

describe('a host that goes silent', () => {
  const [there, away] = [newName('there'), newName('away')];
  afterAll(async () => {
    await cluster.heal(3);
    await becomes('host3', 'Online');
    await removeInstances([there, away]);
  });

  it('is OFFLINE with the reason and the time, and holds up nothing but itself', async () => {
    await launch(there, '--target', 'host1');
    await launch(away, '--target', 'host3');
    await cluster.cut(3);
    await becomes('host3', 'Offline', 25_000);
    const row = await listed('host3');
    expect(row.STATE).toBe('OFFLINE');
    expect(row.MESSAGE).toMatch(/^No heartbeat for \d+\.\ds \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC\)/);
    await refused(['stop', '--force', away], /offline/);
    await refused(['exec', away, '--', 'true'], /offline/);
    await refused(['launch', 'tiny', newName('none'), '--target', 'host3'], /offline/);
    await ok('stop', '--force', there);
    await ok('start', there);
    expect((await instancesOf([away]))[0]?.location).toBe('host3');
    const warnings = (await lxcJson('query', '/1.0/warnings?recursion=1')) as Record<string, unknown>[];
    const warning = warnings.find(({ type, location }) => type === 'Offline cluster member' && location === 'host3');
    expect(warning).toMatchObject({ status: 'new', last_message: expect.stringMatching(/./) });
  });

  it('returns, and its operations are available again by themselves', async () => {
    await cluster.heal(3);
    await becomes('host3', 'Online', 25_000);
    await ok('exec', away, '--', 'true');
    expect((await listed('host3')).MESSAGE).toBe('Fully operational');
    const warnings = (await lxcJson('query', '/1.0/warnings?recursion=1')) as Record<string, unknown>[];
    expect(
      warnings.filter(({ type, location }) => type === 'Offline cluster member' && location === 'host3'),
    ).toMatchObject([{ status: 'resolved' }]);
  });
});

describe('a member that comes and goes', () => {
  let number = 0;
  let host: ClusterHost;
  let first = '';
  const renamed = newName('renamed');
  const again = newName('again');
  const lasting = newName('lasting');
  const busy = newName('busy');
  const state = async (name: string) =>
    (await host.exec(['lxc-info', '-P', '/var/lib/longshore/containers', '-n', name, '-sH'])).stdout.trim();

  beforeAll(async () => {
    number = await cluster.addHost();
    host = cluster.host(number);
    first = `host${number}`;
  });
  afterAll(async () => {
    for (const name of [renamed, again, first]) await lxc('cluster', 'remove', '--force', '--yes', name);
    await cluster.removeHost(number);
    await removeInstances([lasting, busy]);
  });

  it('takes a new name with all that is on it', async () => {
    await launchOnNew(lasting, first);
    expect(await ok('cluster', 'rename', first, renamed)).toBe(`Member ${first} renamed to ${renamed}\n`);
    await becomes(renamed, 'Online');
    expect(await memberNames()).not.toContain(first);
    expect(await locationOf(lasting)).toBe(renamed);
    expect((await host.exec(['grep', '^member:', '/etc/longshore/agent.yaml'])).stdout).toBe(`member: ${renamed}\n`);
    await waitFor('the agent to answer under its new name', async () => {
      const { code } = await lxc('exec', lasting, '--', 'true');
      return code === 0 ? true : undefined;
    });
    expect((await host.exec(['lxc', 'list', '--format', 'csv', '-c', 'nL'])).stdout).toContain(`${lasting},${renamed}`);
    for (const pool of (await lxcJson('query', '/1.0/storage-pools?recursion=1')) as { locations: string[] }[]) {
      expect(pool.locations).toContain(renamed);
      expect(pool.locations).not.toContain(first);
    }
    await refused(['cluster', 'rename', renamed, 'host1'], /already has a member/);
    await refused(['cluster', 'rename', 'nope', 'x'], 'Cluster member not found');
  });

  it('takes a new name in the middle of a launch, which ends well', async () => {
    const middle = newName('middle');
    const launched = lxc('launch', 'tiny', busy, '--target', renamed);
    await waitFor('the launch to begin', async () => ((await instancesOf([busy])).length > 0 ? true : undefined));
    await ok('cluster', 'rename', renamed, middle);
    expect(await launched).toMatchObject({ code: 0, stderr: '' });
    expect((await instancesOf([busy]))[0]).toMatchObject({ status: 'Running', location: middle });
    await ok('cluster', 'rename', middle, renamed);
    await becomes(renamed, 'Online');
    await ok('delete', '--force', busy);
  });

  it('keeps it over a restart of its agent, and learns one that it got while it was off', async () => {
    await host.stopAgent();
    await ok('cluster', 'rename', renamed, again);
    expect(await memberNames()).toContain(again);
    await host.startAgent();
    await becomes(again, 'Online');
    await ok('exec', lasting, '--', 'true');
    // The first name is free: it is not taken for this host's.
    await ok('cluster', 'add', first);
    await ok('cluster', 'revoke-token', first);
  });

  it('is not removed while an instance is there', async () => {
    await refused(['cluster', 'remove', again], `Node still has the following containers: ${lasting}`);
    await ok('delete', '--force', lasting);
  });

  it('cleans up after itself when it is removed empty; what was there before stays', async () => {
    await host.exec(['ip', 'link', 'add', 'before0', 'type', 'bridge']);
    const bridges = async () => (await host.exec(['ls', '/sys/class/net'])).stdout.split('\n');
    expect(await bridges()).toContain('lxdbr0');
    expect(await ok('cluster', 'remove', again)).toBe(`Member ${again} removed\n`);
    expect(await memberNames()).not.toContain(again);
    await waitFor('the agent to leave', async () => {
      const { code } = await host.exec([
        'test',
        '-e',
        '/etc/longshore/removed.json',
        '-o',
        '-e',
        '/etc/longshore/agent.yaml',
      ]);
      return code === 1 ? true : undefined;
    });
    expect(await bridges()).not.toContain('lxdbr0');
    expect(await bridges()).toContain('before0');
    expect((await host.exec(['find', '/etc/longshore', '/var/lib/longshore', '-type', 'f'])).stdout).toBe('');
    expect((await host.exec(['pgrep', 'dnsmasq'])).stdout).toBe('');
    await waitFor(
      'the agent to end',
      async () =>
        (await cluster
          .host(number)
          .agentPid()
          .catch(() => null)) === null || undefined,
    );
    await host.exec(['ip', 'link', 'delete', 'before0']);
  });

  it('joins again by a new token, and launches', async () => {
    await join(host, again);
    await launchOnNew(lasting, again);
  });

  it('goes by force when it never returns, its instances with it, and its name is free', async () => {
    await cluster.cut(number);
    await becomes(again, 'Offline', 25_000);
    await refused(['cluster', 'remove', again], `Node still has the following containers: ${lasting}`);
    expect(await ok('cluster', 'remove', '--force', '--yes', again)).toBe(`Member ${again} removed\n`);
    expect(await memberNames()).not.toContain(again);
    expect(await instancesOf([lasting])).toEqual([]);
  });

  it('is refused when it returns after all, told why, and its instances go on', async () => {
    await cluster.heal(number);
    const told = await waitFor('the local socket to tell', async () => {
      const { stderr } = await host.exec(['lxc', 'list']);
      return stderr.includes('was removed from this cluster') ? stderr : undefined;
    });
    expect(told).toMatch(
      new RegExp(`^Error: "${again}" was removed from this cluster .+: join it again with a new token\n$`),
    );
    expect(await state(lasting)).toBe('RUNNING');
    expect(await memberNames()).not.toContain(again);
    const warnings = (await lxcJson('query', '/1.0/warnings?recursion=1')) as Record<string, unknown>[];
    expect(warnings).toContainEqual(
      expect.objectContaining({ type: 'Removed cluster member returned', location: again, status: 'new' }),
    );
  });

  it('joins once more without being installed anew, with another key, its instances still running', async () => {
    await join(host, again);
    expect(await state(lasting)).toBe('RUNNING');
    const other = newName('other');
    await launchOnNew(other, again);
    await removeInstances([other]);
  });
});

/** A member that has just joined makes its pools first, and takes instances then. */
async function launchOnNew(name: string, member: string): Promise<void> {
  await waitFor(`${member} to take instances`, async () => {
    const { code, stderr } = await lxc('launch', 'tiny', name, '--target', member);
    if (code !== 0) expect(stderr).toMatch(/does not exist there/);
    return code === 0 ? true : undefined;
  });
}

/** `lxc cluster add` here, `longshore join` there. */
async function join(host: ClusterHost, name: string): Promise<void> {
  const token = (await ok('cluster', 'add', name)).trim().split('\n').at(-1) ?? '';
  const joined = await host.join(token);
  expect(joined).toMatchObject({ code: 0 });
  await host.startAgent();
  await becomes(name, 'Online', 30_000);
}
