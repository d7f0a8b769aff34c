/** Ansible with the LXD modules of its community collection, unmodified. A second run must change nothing. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { run } from '#selfhost/run.ts';
import { cluster, instancesOf, lxc, newName, removeInstances } from '../support.ts';

const name = newName('ansible');
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'longshore-ansible-'));
});
afterAll(async () => {
  await removeInstances([name]);
  await rm(directory, { recursive: true });
});

interface TaskResult {
  changed: boolean;
  actions?: string[];
  old_state?: string;
  msg?: string;
  addresses?: Record<string, string[]>;
}

/** One task with one of the LXD modules. Throws the module's own words when it fails. */
async function play(module: string, args: Record<string, unknown>): Promise<TaskResult> {
  const connection = {
    url: `https://127.0.0.1:${cluster.port}`,
    client_cert: join(cluster.lxdConf, 'client.crt'),
    client_key: join(cluster.lxdConf, 'client.key'),
  };
  const answer = join(directory, 'answer.json');
  const tasks = [
    { [`community.general.${module}`]: { ...connection, ...args }, register: 'answer', ignore_errors: true },
    { copy: { content: '{{ answer | to_json }}', dest: answer } },
  ];
  const playbook = join(directory, 'playbook.yml');
  await writeFile(playbook, stringify([{ hosts: 'localhost', gather_facts: false, tasks }]));
  const env = {
    // The modules ask the system which servers to believe.
    SSL_CERT_FILE: join(cluster.lxdConf, 'servercerts/longshore.crt'),
    ANSIBLE_HOME: join(directory, 'home'),
    ANSIBLE_LOCALHOST_WARNING: 'false',
    ANSIBLE_PYTHON_INTERPRETER: '/usr/bin/python3',
  };
  await run(resolve('bin/ansible-playbook'), ['-i', 'localhost,', '-c', 'local', playbook], { env });
  const result = JSON.parse(await readFile(answer, 'utf8')) as TaskResult & { failed?: boolean };
  if (result.failed) throw new Error(`${module}: ${result.msg}`);
  return result;
}

const container = (state: string, args: Record<string, unknown> = {}) =>
  play('lxd_container', { name, state, timeout: 60, ignore_volatile_options: true, ...args });

/** Nothing to do, nothing done. */
const unchanged = { changed: false, actions: [] };

describe('lxd_container', () => {
  const spec = {
    source: { type: 'image', alias: 'tiny' },
    profiles: ['default'],
    config: { 'limits.memory': '64MiB', 'user.colour': 'blue' },
    wait_for_ipv4_addresses: true,
    target: 'host2',
  };

  it('creates and starts an instance on a member and waits for its address', async () => {
    const result = await container('started', spec);
    expect(result).toMatchObject({ changed: true, old_state: 'absent', actions: ['create', 'start'] });
    expect(result.addresses?.eth0).toHaveLength(1);
    expect(await instancesOf([name])).toMatchObject([
      { status: 'Running', location: 'host2', config: { 'limits.memory': '64MiB', 'user.colour': 'blue' } },
    ]);
  });

  it('changes nothing the second time', async () => {
    expect(await container('started', spec)).toMatchObject(unchanged);
  });

  it('applies changed config, once', async () => {
    const changed = { ...spec, config: { ...spec.config, 'user.colour': 'red' } };
    expect(await container('started', changed)).toMatchObject({ actions: ['apply_instance_configs'] });
    expect(await container('started', changed)).toMatchObject(unchanged);
    expect((await instancesOf([name]))[0]?.config['user.colour']).toBe('red');
  });

  it('freezes, restarts and stops it, each once', async () => {
    expect(await container('frozen')).toMatchObject({ changed: true, actions: ['freeze'] });
    expect(await container('restarted', { force_stop: true })).toMatchObject({ actions: ['unfreeze', 'restart'] });
    expect(await container('stopped', { force_stop: true })).toMatchObject({ changed: true, actions: ['stop'] });
    expect(await container('stopped')).toMatchObject(unchanged);
    expect((await instancesOf([name]))[0]?.status).toBe('Stopped');
  });

  it('removes it, once', async () => {
    expect(await container('absent')).toMatchObject({ changed: true, actions: ['delete'] });
    expect(await container('absent')).toMatchObject(unchanged);
    expect(await instancesOf([name])).toEqual([]);
  });

  it('fails with the cluster’s own words', async () => {
    const source = { type: 'image', alias: 'no-such-image' };
    await expect(container('started', { source })).rejects.toThrow('Image not found');
  });
});

describe('lxd_profile and lxd_project', () => {
  it.each([
    ['lxd_profile', newName('ansible-profile'), { config: { 'user.colour': 'blue' }, description: 'from Ansible' }],
    ['lxd_project', newName('ansible-project'), { description: 'from Ansible' }],
  ])('%s makes, keeps and removes what it is told', async (module, item, args) => {
    const kind = module.replace('lxd_', '');
    expect(await play(module, { name: item, ...args })).toMatchObject({ changed: true, actions: ['create'] });
    expect(await play(module, { name: item, ...args })).toMatchObject(unchanged);
    expect((await lxc(kind, 'show', item)).stdout).toContain('description: from Ansible');
    expect(await play(module, { name: item, state: 'absent' })).toMatchObject({ changed: true, actions: ['delete'] });
    expect(await play(module, { name: item, state: 'absent' })).toMatchObject(unchanged);
  });
});
