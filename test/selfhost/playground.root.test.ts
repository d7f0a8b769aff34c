import { existsSync, readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readHierarchies } from '#selfhost/playground/cgroups.ts';
import {
  bootHost,
  crashHost,
  createHost,
  describeHost,
  execInHost,
  type Host,
  pidOf,
  removeHost,
  startInHost,
} from '#selfhost/playground/host.ts';
import {
  controlAddressOf,
  createNet,
  cutHost,
  healHost,
  hostAddressOf,
  type Net,
  netnsOf,
} from '#selfhost/playground/network.ts';
import { createRun, type Run, recordNet, removeRun, sweepRuns } from '#selfhost/playground/runs.ts';
import { hasKernelZfs, startZfs } from '#selfhost/playground/zfs.ts';
import { run } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';

let it1: Run;
let network: Net;
let one: Host;
let two: Host;
let control: net.Server;

/** Everything of the kernel's that a run could leave behind. */
async function traces(): Promise<string[]> {
  const [links, namespaces, loops, mounts] = await Promise.all([
    run('ip', ['-o', 'link']),
    run('ip', ['netns', 'list']),
    run('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE']),
    readFile('/proc/self/mounts', 'utf8'),
  ]);
  // Not deeper: other programs' groups come and go while one reads.
  const { v1, unified } = readHierarchies();
  const groups = [...v1, ...(unified === null ? [] : [unified])].flatMap((dir) => readdirSync(dir));
  const all = [links.stdout, namespaces.stdout, loops.stdout, mounts, ...groups].join('\n').split('\n');
  return all.filter((line) => line.includes(`${network.prefix}-`) || line.includes(`${network.prefix}c`));
}

const sh = (host: Host, script: string) => execInHost(host, ['sh', '-c', script]);
const connects = async (host: Host, address: string, port: number) =>
  (await execInHost(host, ['timeout', '1', 'bash', '-c', `: </dev/tcp/${address}/${port}`])).code === 0;

beforeAll(async () => {
  it1 = createRun();
  network = await createNet((claimed) => recordNet(it1, claimed));
  one = describeHost(network, it1.dir, 1);
  two = describeHost(network, it1.dir, 2);
  await Promise.all(
    [one, two].map(async (host) => {
      await createHost(host);
      await bootHost(host);
    }),
  );
  control = net.createServer((socket) => socket.end());
  await new Promise<void>((resolve) => control.listen(8443, controlAddressOf(network), resolve));
});

afterAll(async () => {
  control.close();
  await removeRun(it1);
  expect(await traces()).toEqual([]);
  expect(existsSync(it1.dir)).toBe(false);
});

describe('a simulated host', () => {
  it('has a name, an address and a process table of its own', async () => {
    expect((await sh(one, 'hostname; echo $$; ls /sys/class/net')).stdout).toMatch(/^host1\n\d{1,3}\neth0\nlo\n$/);
    expect((await execInHost(two, ['ip', '-o', '-4', 'addr'])).stdout).toContain(`${hostAddressOf(network, 2)}/24`);
  });

  it('reaches the control plane and no other host', async () => {
    expect(await connects(one, controlAddressOf(network), 8443)).toBe(true);
    const listener = startInHost(two, ['node', '-e', 'net.createServer((s) => s.end()).listen(9999)'], '/dev/null');
    await waitFor('a listener', () => connects(two, '127.0.0.1', 9999));
    expect(await connects(one, hostAddressOf(network, 2), 9999)).toBe(false);
    listener.kill('SIGKILL');
  });

  it('is unreachable while its cable is cut, and reachable after', async () => {
    await cutHost(network, 1);
    expect(await connects(one, controlAddressOf(network), 8443)).toBe(false);
    await healHost(network, 1);
    await waitFor('the cable', () => connects(one, controlAddressOf(network), 8443));
  });

  it('writes to no file of the machine, nor of another host', async () => {
    await sh(
      one,
      'echo mine >/etc/longshore-test; echo mine >/var/lib/longshore/x; echo mine >/run/x; mkdir /var/lib/lxd/y',
    );
    for (const file of ['/etc/longshore-test', '/run/x', '/var/lib/longshore/x', '/var/lib/lxd/y']) {
      expect({ file, there: existsSync(file) }).toEqual({ file, there: false });
      expect((await execInHost(two, ['test', '-e', file])).code).toBe(1);
    }
  });

  it('passes on stdin, output and exit code', async () => {
    const result = await execInHost(one, ['sh', '-c', 'cat; echo err >&2; exit 7'], { input: 'in' });
    expect(result).toEqual({ stdout: 'in', stderr: 'err\n', code: 7 });
  });

  it('sees control groups rooted at its own', async () => {
    const groups = (await sh(one, 'cat /proc/self/cgroup')).stdout.trim().split('\n');
    for (const line of groups) expect(line).toMatch(/:\/$/);
    expect((await sh(one, 'find /sys/fs/cgroup -name cgroup.procs | head -1 | xargs cat | head -1')).stdout).toMatch(
      /^\d+/,
    );
  });

  it.skipIf(hasKernelZfs())('keeps a pool of its own over a power cut; all else is gone', async () => {
    for (const host of [one, two]) {
      await startZfs(host);
      await sh(host, 'truncate -s 256M /var/lib/longshore/tank.img');
      expect(await execInHost(host, ['zpool', 'create', 'tank', '/var/lib/longshore/tank.img'])).toMatchObject({
        code: 0,
      });
    }
    await sh(
      one,
      'zfs create tank/here; ip link add br0 type bridge; nft add table inet mine; echo keep >/var/lib/lxc/file',
    );
    const pid = pidOf(one);
    await crashHost(one);
    expect(pidOf(one)).toBeNull();
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    await bootHost(one);
    await startZfs(one);
    expect((await execInHost(one, ['zfs', 'list', '-H', '-o', 'name'])).stdout).toBe('tank\ntank/here\n');
    expect((await sh(one, 'cat /var/lib/lxc/file; ip -o link; nft list ruleset')).stdout).toMatch(
      /^keep\n(?!.*(br0|mine))/s,
    );
    expect((await execInHost(two, ['zfs', 'list', '-H', '-o', 'name'])).stdout).toBe('tank\n');
  });

  it('is swept away with its run when the run’s process is gone', async () => {
    const dead = createRun();
    const deadNet = await createNet((claimed) => recordNet(dead, claimed));
    const host = describeHost(deadNet, dead.dir, 1);
    await createHost(host);
    await bootHost(host);
    await sh(host, 'truncate -s 64M /var/lib/longshore/disk.img && losetup --find /var/lib/longshore/disk.img');
    const record = path.join(dead.dir, 'run.json');
    // No process has pid 0.
    await writeFile(record, (await readFile(record, 'utf8')).replace(/"pid":\d+/, '"pid":0'));
    expect(await sweepRuns()).toBeGreaterThanOrEqual(1);
    expect(existsSync(dead.dir)).toBe(false);
    const look = await Promise.all([
      run('ip', ['netns', 'list']),
      run('ip', ['-o', 'link']),
      run('losetup', ['--list']),
    ]);
    expect(look.map((it) => it.stdout).join('')).not.toMatch(new RegExp(`${deadNet.prefix}(-|c)|disk\\.img`));
  });

  it('boots where only the unified control groups are seen', async () => {
    const three = describeHost(network, it1.dir, 3);
    await createHost(three);
    await bootHost(three, { cgroups: 'v2' });
    expect((await sh(three, 'stat -fc %T /sys/fs/cgroup')).stdout).toBe('cgroup2fs\n');
    await removeHost(three);
    expect((await run('ip', ['netns', 'list'])).stdout).not.toContain(netnsOf(network, 3));
  });
});
