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

type Task = readonly [module: string, args: Record<string, unknown>];

/** Runs the tasks in one playbook, failed ones among them; starting Ansible takes longer than any of them. */
async function play(...wanted: Task[]): Promise<TaskResult[]> {
  const connection = {
    url: `https://127.0.0.1:${cluster.port}`,
    client_cert: join(cluster.lxdConf, 'client.crt'),
    client_key: join(cluster.lxdConf, 'client.key'),
  };
  const answer = join(directory, 'answer.json');
  const tasks = wanted.map(([module, args], index) => ({
    [`community.general.${module}`]: { ...connection, ...args },
    register: `result${index}`,
    ignore_errors: true,
  }));
  const results = `[${tasks.map(({ register }) => register).join(', ')}]`;
  const report = { copy: { content: `{{ ${results} | to_json }}`, dest: answer } };
  const playbook = join(directory, 'playbook.yml');
  await writeFile(playbook, stringify([{ hosts: 'localhost', gather_facts: false, tasks: [...tasks, report] }]));
  const env = {
    // The modules ask the system which servers to believe.
    SSL_CERT_FILE: join(cluster.lxdConf, 'servercerts/longshore.crt'),
    ANSIBLE_HOME: join(directory, 'home'),
    ANSIBLE_LOCALHOST_WARNING: 'false',
    ANSIBLE_PYTHON_INTERPRETER: '/usr/bin/python3',
  };
  await run(resolve('bin/ansible-playbook'), ['-i', 'localhost,', '-c', 'local', playbook], { env });
  return JSON.parse(await readFile(answer, 'utf8')) as TaskResult[];
}

const container = (state: string, args: Record<string, unknown> = {}): Task => [
  'lxd_container',
  { name, state, timeout: 60, ignore_volatile_options: true, ...args },
];

const did = (...actions: string[]) => ({ changed: true, actions });
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

  it('creates and starts an instance on a member, waits for its address, and does nothing the second time', async () => {
    const [first, second] = await play(container('started', spec), container('started', spec));
    expect(first).toMatchObject({ old_state: 'absent', ...did('create', 'start') });
    expect(first?.addresses?.eth0).toHaveLength(1);
    expect(second).toMatchObject(unchanged);
    expect(await instancesOf([name])).toMatchObject([
      { status: 'Running', location: 'host2', config: { 'limits.memory': '64MiB', 'user.colour': 'blue' } },
    ]);
  });

  it('applies changed config, once', async () => {
    const changed = { ...spec, config: { ...spec.config, 'user.colour': 'red' } };
    const results = await play(container('started', changed), container('started', changed));
    expect(results).toMatchObject([did('apply_instance_configs'), unchanged]);
    expect((await instancesOf([name]))[0]?.config['user.colour']).toBe('red');
  });

  it('freezes, restarts, stops and removes it', async () => {
    const results = await play(
      container('frozen'),
      container('restarted', { force_stop: true }),
      container('stopped', { force_stop: true }),
      container('stopped'),
      container('absent'),
      container('absent'),
    );
    expect(results).toMatchObject([
      did('freeze'),
      did('unfreeze', 'restart'),
      did('stop'),
      unchanged,
      did('delete'),
      unchanged,
    ]);
    expect(await instancesOf([name])).toEqual([]);
  });

  it('fails with the cluster’s own words', async () => {
    const source = { type: 'image', alias: 'no-such-image' };
    const [result] = await play(container('started', { source }));
    expect(result).toMatchObject({ failed: true, msg: expect.stringContaining('Image not found') });
  });
});

it('lxd_profile and lxd_project make, keep and remove what they are told', async () => {
  const profile = { name: newName('ansible-profile'), config: { 'user.colour': 'blue' }, description: 'from Ansible' };
  const project = { name: newName('ansible-project'), description: 'from Ansible' };
  const made: Task[] = [
    ['lxd_profile', profile],
    ['lxd_project', project],
  ];
  expect(await play(...made, ...made)).toMatchObject([did('create'), did('create'), unchanged, unchanged]);
  expect((await lxc('profile', 'show', profile.name)).stdout).toContain('description: from Ansible');
  expect((await lxc('project', 'show', project.name)).stdout).toContain('description: from Ansible');
  const gone: Task[] = [
    ['lxd_profile', { name: profile.name, state: 'absent' }],
    ['lxd_project', { name: project.name, state: 'absent' }],
  ];
  expect(await play(...gone, ...gone)).toMatchObject([did('delete'), did('delete'), unchanged, unchanged]);
});
