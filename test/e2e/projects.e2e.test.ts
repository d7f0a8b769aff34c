/** Projects and clients confined to them, by the stock client. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, clientEnv } from '#selfhost/playground/client.ts';
import { run } from '#selfhost/run.ts';
import { lxc, lxcJson, newName, newNames, type Ran, removeInstances, table, waitFor } from './support.ts';

/** With nothing of its own, with all of its own, and one to play with. */
const [borrowing = '', owning = '', played = ''] = newNames('project', 3);
const twin = newName('twin');
const clientName = newName('confined');
let conf = '';

beforeAll(async () => {
  conf = await mkdtemp(join(tmpdir(), 'longshore-confined-'));
  const off = ['images', 'profiles', 'storage.volumes'].flatMap((feature) => ['-c', `features.${feature}=false`]);
  await ok('project', 'create', borrowing, ...off);
  await ok('project', 'create', owning);
});
afterAll(async () => {
  await lxc('delete', '--force', twin, '--project', borrowing);
  await lxc('delete', '--force', twin, '--project', owning);
  await removeInstances([twin]);
  for (const { fingerprint, name } of (await lxcJson('config', 'trust', 'list', '--format', 'json')) as Trusted[])
    if (name === clientName) await lxc('config', 'trust', 'remove', fingerprint);
  for (const name of [borrowing, owning, played, `${played}x`]) await lxc('project', 'delete', name);
  await rm(conf, { recursive: true });
});

interface Trusted {
  name: string;
  fingerprint: string;
  restricted: boolean;
  projects: string[];
}

interface Located {
  location: string;
}

interface Listed {
  name: string;
  project: string;
  status: string;
  state: { network: Record<string, { addresses: { family: string; address: string }[] }> | null } | null;
}

async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  if (code !== 0) throw new Error(`lxc ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const listed = async (...flags: string[]): Promise<Listed[]> =>
  ((await lxcJson('list', '--format', 'json', ...flags)) as Listed[]).filter(({ name }) => name === twin);

const refusal = (error: string) => ({ code: 1, stdout: '', stderr: `Error: ${error}\n` });

describe('a project', () => {
  it('is created, listed, shown, set, switched to, renamed and deleted', async () => {
    expect(await ok('project', 'create', played, '-c', 'features.images=false')).toBe(`Project ${played} created\n`);
    expect(await lxc('project', 'create', played)).toMatchObject({ code: 1 });
    const { header, rows } = table(await ok('project', 'list'));
    const features = ['IMAGES', 'PROFILES', 'STORAGE VOLUMES', 'STORAGE BUCKETS', 'NETWORKS', 'NETWORK ZONES'];
    expect(header).toEqual(expect.arrayContaining(['NAME', 'IMAGES', 'PROFILES', 'STORAGE VOLUMES', 'NETWORKS']));
    expect(header.filter((name) => !features.includes(name))).toEqual(['NAME', 'DESCRIPTION', 'USED BY']);
    expect(rows.find(([name]) => name === played)?.slice(1, 4)).toEqual(['NO', 'YES', 'YES']);
    expect(rows.find(([name]) => name?.startsWith('default'))?.[0]).toBe('default (current)');
    const shown = await ok('project', 'show', played);
    expect(shown).toContain('config:\n  features.images: "false"\n  features.profiles: "true"\n');
    expect(shown).toContain(`used_by:\n- /1.0/profiles/default?project=${played}\n`);
    await ok('project', 'set', played, 'user.owner', 'ada');
    expect(await ok('project', 'get', played, 'user.owner')).toBe('ada\n');
    expect(await ok('project', 'info', played)).toContain('INSTANCES');
    await ok('project', 'switch', played);
    try {
      expect(table(await ok('project', 'list')).rows.map(([name]) => name)).toContain(`${played} (current)`);
      expect((await lxcJson('list', '--format', 'json')) as Listed[]).toEqual([]);
    } finally {
      await ok('project', 'switch', 'default');
    }
    expect(await ok('project', 'rename', played, `${played}x`)).toBe(`Project ${played} renamed to ${played}x\n`);
    expect(await ok('project', 'delete', `${played}x`)).toBe(`Project ${played}x deleted\n`);
    expect(await lxc('project', 'show', `${played}x`)).toEqual(refusal('Project not found'));
  });

  it('that is the default one stays', async () => {
    expect(await lxc('project', 'delete', 'default')).toEqual(refusal("The 'default' project cannot be deleted"));
    expect(await lxc('project', 'rename', 'default', 'other')).toEqual(
      refusal("The 'default' project cannot be renamed"),
    );
  });

  it('has instances of its own: one name in three projects is three', async () => {
    // Its own default profile is empty.
    await ok('profile', 'device', 'add', 'default', 'root', 'disk', 'path=/', 'pool=default', '--project', owning);
    await ok('profile', 'device', 'add', 'default', 'eth0', 'nic', 'network=lxdbr0', '--project', owning);
    const copy = ['image', 'copy', 'longshore:tiny', 'longshore:', '--copy-aliases', '--mode', 'relay'];
    await ok(...copy, '--target-project', owning);
    await Promise.all([
      ok('launch', 'tiny', twin),
      ok('launch', 'tiny', twin, '--project', borrowing),
      ok('launch', 'tiny', twin, '--project', owning),
    ]);
    const addresses = await waitFor('addresses of all three', async () => {
      const found = (await listed('--all-projects')).flatMap(({ state }) =>
        (state?.network?.eth0?.addresses ?? []).filter(({ family }) => family === 'inet').map(({ address }) => address),
      );
      return found.length === 3 ? found : undefined;
    });
    expect(new Set(addresses).size).toBe(3);
    expect((await listed('--all-projects')).map(({ project }) => project).sort()).toEqual(
      ['default', borrowing, owning].sort(),
    );
    for (const flags of [[], ['--project', borrowing], ['--project', owning]])
      expect(await listed(...flags)).toHaveLength(1);
    await ok('exec', twin, '--project', borrowing, '--', 'sh', '-c', 'echo borrowed > /root/mark');
    expect(await lxc('exec', twin, '--project', owning, '--', 'cat', '/root/mark')).toMatchObject({ code: 1 });
    await ok('delete', '--force', twin);
    expect(await ok('exec', twin, '--project', borrowing, '--', 'cat', '/root/mark')).toBe('borrowed\n');
  });

  it('uses the default project’s images and profiles, or only its own', async () => {
    const aliases = async (project: string) =>
      table(await ok('image', 'list', '--project', project)).rows.map(([alias]) => alias);
    expect(await aliases(borrowing)).toEqual(await aliases('default'));
    expect(await aliases(owning)).toEqual(['tiny']);
    expect(await lxc('launch', 'debian/12', newName('none'), '--project', owning)).toMatchObject({ code: 1 });
    const own = newName('only-here');
    await ok('profile', 'create', own, '--project', owning);
    const profiles = async (project: string) =>
      table(await ok('profile', 'list', '--project', project)).rows.map(([name]) => name);
    expect(await profiles(owning)).toEqual(['default', own].sort());
    expect(await profiles(borrowing)).toEqual(await profiles('default'));
    expect(await profiles('default')).not.toContain(own);
    await ok('profile', 'delete', own, '--project', owning);
  });

  it('has no more instances than its limit', async () => {
    await ok('project', 'set', borrowing, 'limits.instances', '1');
    const refused = await lxc('launch', 'tiny', newName('none'), '--project', borrowing);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`Reached maximum number of instances in project "${borrowing}"`);
    await ok('project', 'unset', borrowing, 'limits.instances');
  });

  it('without volumes of its own has the default project’s as disks', async () => {
    const volume = newName('lent');
    const [{ location = '' } = {}] = (await lxcJson('list', '--format', 'json', '--project', borrowing)) as Located[];
    await ok('storage', 'volume', 'create', 'default', volume, '--target', location, '--project', borrowing);
    try {
      const volumes = async (project: string) =>
        table(await ok('storage', 'volume', 'list', 'default', '--project', project)).rows.map(([, name]) => name);
      expect(await volumes('default')).toContain(volume);
      expect(await volumes(borrowing)).toContain(volume);
      expect(await volumes(owning)).not.toContain(volume);
      await ok('storage', 'volume', 'attach', 'default', volume, twin, '/lent', '--project', borrowing);
      await ok('exec', twin, '--project', borrowing, '--', 'sh', '-c', 'echo there > /lent/mark');
      await ok('restart', '--force', twin, '--project', borrowing);
      expect(await ok('exec', twin, '--project', borrowing, '--', 'cat', '/lent/mark')).toBe('there\n');
      expect(await lxc('storage', 'volume', 'delete', 'default', volume)).toEqual(
        refusal('The storage volume is still in use'),
      );
      await ok('storage', 'volume', 'detach', 'default', volume, twin, '--project', borrowing);
    } finally {
      await lxc('config', 'device', 'remove', twin, volume, '--project', borrowing);
      await ok('storage', 'volume', 'delete', 'default', volume);
    }
  });

  it('is not deleted, renamed or given other features while something is in it', async () => {
    expect(await lxc('project', 'delete', owning)).toEqual(refusal('Only empty projects can be removed'));
    expect(await lxc('project', 'rename', owning, `${owning}x`)).toEqual(refusal('Only empty projects can be renamed'));
    expect(await lxc('project', 'set', owning, 'features.images', 'false')).toEqual(
      refusal('Features can only be changed on empty projects'),
    );
    expect((await listed('--project', owning))[0]?.status).toBe('Running');
  });
});

describe('a client that is confined to a project', () => {
  const confined = (...args: string[]): Promise<Ran> =>
    run('lxc', args, { allowFailure: true, env: clientEnv(conf satisfies Client['conf']) });

  it('is let in by a token, and finds itself in its project', async () => {
    const said = await ok('config', 'trust', 'add', '--name', clientName, '--restricted', '--projects', borrowing);
    const token = said.trim().split('\n').at(-1) ?? '';
    const added = await confined('remote', 'add', 'cluster', token);
    expect(added).toMatchObject({ code: 0 });
    await confined('remote', 'switch', 'cluster');
    const [own] = ((await lxcJson('config', 'trust', 'list', '--format', 'json')) as Trusted[]).filter(
      ({ name }) => name === clientName,
    );
    expect(own).toMatchObject({ restricted: true, projects: [borrowing] });
    expect(table((await confined('project', 'list')).stdout).rows.map(([name]) => name)).toEqual([
      `${borrowing} (current)`,
    ]);
  });

  it('works in its project as anybody does', async () => {
    expect(table((await confined('list')).stdout).rows.map(([name]) => name)).toEqual([twin]);
    expect((await confined('exec', twin, '--', 'cat', '/root/mark')).stdout).toBe('borrowed\n');
    expect(await confined('config', 'set', twin, 'user.by', 'them')).toMatchObject({ code: 0 });
    expect(await confined('restart', '--force', twin)).toMatchObject({ code: 0 });
    expect((await confined('cluster', 'list')).stdout).toContain('host1');
  });

  it('sees and touches nothing outside of it', async () => {
    const denied = refusal('not authorized');
    expect(await confined('list', '--project', 'default')).toEqual(denied);
    expect(await confined('list', '--project', owning)).toEqual(denied);
    expect(await confined('exec', twin, '--project', owning, '--', 'true')).toEqual(denied);
    expect(await confined('delete', '--force', twin, '--project', owning)).toEqual(
      refusal(`Failed checking instance exists "cluster:${twin}": not authorized`),
    );
    expect(await confined('project', 'show', owning)).toEqual(denied);
    expect(await confined('project', 'create', newName('theirs'))).toEqual(denied);
    expect(await confined('project', 'set', borrowing, 'limits.instances', '99')).toEqual(denied);
    expect(await confined('config', 'set', 'user.a', 'b')).toEqual(denied);
    expect(await confined('config', 'trust', 'add', '--name', 'friend')).toEqual(denied);
    expect(await confined('cluster', 'add', 'host9')).toEqual(denied);
    expect(await confined('storage', 'create', newName('theirs'), 'dir')).toEqual(denied);
    expect(await confined('network', 'create', newName('theirs').slice(0, 15))).toEqual(denied);
    // A profile that it only borrows.
    expect(await confined('profile', 'set', 'default', 'limits.cpu', '1')).toEqual(denied);
    const everywhere = (await confined('list', '--all-projects', '--format', 'json')).stdout;
    expect((JSON.parse(everywhere) as Listed[]).map(({ project }) => project)).toEqual([borrowing]);
    expect((await listed('--project', owning))[0]?.status).toBe('Running');
  });
});
