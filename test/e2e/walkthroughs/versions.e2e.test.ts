/**
 * Hosts of several versions in one cluster, and upgrading them one at a time: walk-through F4. LXD stops the whole cluster
 * ("Blocked") until every member is upgraded; here only a host that is too old is, and what runs on it goes on.
 */
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PROTOCOL_MINIMUM, PROTOCOL_VERSION, UPGRADE_PROTOCOL } from '#protocol/version.ts';
import { api } from '../api.ts';
import { cluster, instancesOf, lxc, newName, removeInstances, table, waitFor } from '../support.ts';

const OLD = 'host2';
const created: string[] = [];
const host = cluster.host(2);

/** What `lxc cluster list` says of a member. */
async function listed(name: string): Promise<{ state: string; message: string }> {
  const { header, rows } = table((await lxc('cluster', 'list')).stdout);
  const row = rows.find((cells) => cells[0] === name) ?? [];
  return { state: row[header.indexOf('STATE')] ?? '', message: row[header.indexOf('MESSAGE')] ?? '' };
}

const untilListed = (name: string, state: string, message: RegExp) =>
  waitFor(`${name} to be ${state}`, async () => {
    const seen = await listed(name);
    return seen.state === state && message.test(seen.message) ? seen : undefined;
  });

/** The host's agent comes again, speaking this protocol; null: its own. */
async function restartWith(protocol: number | null): Promise<void> {
  await host.stopAgent();
  const line = protocol === null ? '' : `; echo 'protocol: ${protocol}' >>/etc/longshore/agent.yaml`;
  expect(await host.exec(['sh', '-ec', `sed -i '/^protocol:/d' /etc/longshore/agent.yaml${line}`])).toMatchObject({
    code: 0,
  });
  await host.startAgent();
}

async function launchOn(member: string): Promise<string> {
  const name = newName('age');
  created.push(name);
  expect(await lxc('launch', 'tiny', name, '--target', member)).toMatchObject({ code: 0 });
  return name;
}

afterAll(() => removeInstances(created));

describe.each([PROTOCOL_VERSION - 1, PROTOCOL_MINIMUM])(
  'a host whose agent speaks protocol %i, an older one',
  (protocol) => {
    beforeAll(async () => {
      await restartWith(protocol);
      await untilListed(OLD, 'ONLINE', new RegExp(`protocol ${protocol}`));
    });
    afterAll(async () => {
      await restartWith(null);
      await untilListed(OLD, 'ONLINE', /^Fully operational$/);
    });

    it('works beside the others, and the list says that it should be upgraded', async () => {
      const names = [await launchOn(OLD), await launchOn('host1')];
      expect((await instancesOf(names)).map(({ status }) => status)).toEqual(['Running', 'Running']);
      const [old = ''] = names;
      expect(await lxc('exec', old, '--', 'echo', 'here')).toMatchObject({ code: 0, stdout: 'here\n' });
      expect(await lxc('stop', '--force', old)).toMatchObject({ code: 0 });
      expect(await lxc('start', old)).toMatchObject({ code: 0 });
      const told = `^Fully operational, but its agent [\\d.]+ \\(protocol ${protocol}\\) should be upgraded: `;
      expect((await listed(OLD)).message).toMatch(new RegExp(told));
      expect(await listed('host1')).toEqual({ state: 'ONLINE', message: 'Fully operational' });
    });
  },
);

describe('a host whose agent cannot upgrade itself', () => {
  beforeAll(async () => {
    await restartWith(UPGRADE_PROTOCOL - 1);
    await untilListed(OLD, 'ONLINE', /should be upgraded/);
  });
  afterAll(async () => {
    await restartWith(null);
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
  });

  it('is told what it lacks where it cannot do something, and nothing hangs', async () => {
    const { status, body } = await api({ method: 'POST', path: `/1.0/cluster/members/${OLD}/upgrade` });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(body.error).toMatch(/too old to upgrade itself: install the cluster's release on "host2"/);
  });
});

describe('a host whose agent is too old', () => {
  afterEach(async () => {
    await restartWith(null);
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
  });

  it('is Blocked alone, its instances go on and are listed, and it works again once upgraded', async () => {
    const name = await launchOn(OLD);
    await restartWith(0);
    const { message } = await untilListed(OLD, 'BLOCKED', /too old/);
    expect(message).toMatch(/is too old, protocol \d+ is needed: install the cluster's release on "host2"/);

    expect((await instancesOf([name]))[0]).toMatchObject({ status: 'Running', location: OLD });
    const listedRow = table((await lxc('list', name)).stdout).rows[0];
    expect(listedRow?.[1]).toBe('RUNNING');
    const { stdout } = await host.exec(['lxc-ls', '-P', '/var/lib/longshore/containers', '--running', '-1']);
    expect(stdout).toContain(name);

    // It blocks nobody: the others launch, and a launch on it is refused at once.
    for (const other of ['host1', 'host3']) expect((await listed(other)).state).toBe('ONLINE');
    await launchOn('host1');
    const refused = await lxc('launch', 'tiny', newName('age'), '--target', OLD);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('its agent is too old');
    expect((await lxc('stop', '--force', name)).code).toBe(1);

    await restartWith(null);
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
    expect(await lxc('stop', '--force', name)).toMatchObject({ code: 0 });
  });
});

describe('longshore agent upgrade', () => {
  const folder = join(cluster.controlDir, 'blobs/agent');
  const manifestFile = join(folder, 'release.json');
  let offered = '';
  beforeAll(async () => {
    offered = await waitFor('the control plane to offer its release', async () => {
      try {
        return readFileSync(manifestFile, 'utf8');
      } catch {
        return undefined;
      }
    });
  });
  afterAll(async () => {
    offer(offered);
    // The host goes back to what it was installed with.
    await host.stopAgent();
    await host.exec(['rm', '-rf', '/var/lib/longshore/agent']);
    await host.startAgent();
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
  });

  function offer(manifest: string): void {
    writeFileSync(`${manifestFile}.new`, manifest);
    renameSync(`${manifestFile}.new`, manifestFile);
  }

  /** Offers the present release with something put before or after it. */
  function offerChanged(change: (text: string) => string, claim?: string): string {
    const { sha256: current, ...rest } = JSON.parse(offered) as { sha256: string };
    const content = change(readFileSync(join(folder, `${current}.mjs`), 'utf8'));
    const sha256 = claim ?? createHash('sha256').update(content).digest('hex');
    writeFileSync(join(folder, `${sha256}.mjs`), content);
    offer(JSON.stringify({ ...rest, sha256, sizeBytes: Buffer.byteLength(content) }));
    return sha256;
  }

  /** Typed on a host: the agent's program with these arguments. */
  const longshore = (...args: string[]) =>
    host.exec([process.execPath, cluster.program, ...args], { timeoutMs: 200_000 });
  const pointer = async () =>
    JSON.parse((await host.exec(['cat', '/var/lib/longshore/agent/release.json'])).stdout) as Record<string, unknown>;

  it('replaces the agent while its instances go on', async () => {
    const name = await launchOn(OLD);
    const before = await host.exec(['lxc-info', '-P', '/var/lib/longshore/containers', '-n', name, '-p']);
    const sha256 = offerChanged((text) => `${text}\n// another release\n`);
    expect(await longshore('agent', 'upgrade')).toMatchObject({
      code: 0,
      stdout: `Upgrading the agent of "${OLD}"\nThe agent is up to date\n`,
    });
    expect(await pointer()).toMatchObject({ sha256, state: 'good' });
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
    expect(await host.exec(['lxc-info', '-P', '/var/lib/longshore/containers', '-n', name, '-p'])).toEqual(before);
    expect(await lxc('exec', name, '--', 'true')).toMatchObject({ code: 0 });
    // Another start is a start of the new one.
    await host.killAgent();
    await host.startAgent();
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
    expect(await pointer()).toMatchObject({ sha256, state: 'good' });
    // There is nothing to do any more.
    expect(await longshore('agent', 'upgrade', OLD)).toMatchObject({ code: 0 });
  });

  it('refuses content that is not what was offered', async () => {
    const before = await pointer();
    offerChanged((text) => `${text}\n// tampered with\n`, 'f'.repeat(64));
    const { code, stderr } = await longshore('agent', 'upgrade');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Error: The release that came is not the one that was offered/);
    expect(await pointer()).toEqual(before);
  });

  it('refuses a release that does not even say its version', async () => {
    const before = await pointer();
    offerChanged((text) => `process.exit(3);\n${text}`);
    const { code, stderr } = await longshore('agent', 'upgrade');
    expect(code).toBe(1);
    expect(stderr).toContain('The new agent does not start on this host: nothing was changed');
    expect(await pointer()).toEqual(before);
  });

  it('goes back by itself when the new agent dies at its start', { timeout: 180_000 }, async () => {
    const { sha256: good } = await pointer();
    const sha256 = offerChanged((text) =>
      text.replace(/\n/, "\nif (process.argv.at(-1) === 'agent') process.exit(7);\n"),
    );
    const { code, stderr } = await longshore('agent', 'upgrade');
    expect(code).toBe(1);
    expect(stderr).toContain('The new agent could not start or did not reach the control plane: the old one runs on');
    // The release that worked runs again, not only what the host was installed with.
    expect(await pointer()).toMatchObject({ sha256: good, state: 'good', failed: sha256 });
    await untilListed(OLD, 'ONLINE', /^Fully operational$/);
    await launchOn(OLD);
  });
});
