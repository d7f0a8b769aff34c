/** Joining by token (walk-throughs E, C 1): what is asked, what is refused, and a join that is killed at every step. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JOIN_STEPS } from '#agent/join/join.ts';
import { type EmptyCluster, startEmptyCluster } from '#test/harness/empty-cluster.ts';
import { table, waitFor } from '../support.ts';

const FIRST = `storage_pools:
- name: local
  driver: zfs
  config: {size: 1GiB}
- name: plain
  driver: dir
networks:
- name: br0
  type: bridge
  config: {ipv4.address: 10.55.0.1/24, ipv6.address: none}
cluster: {enabled: true, server_name: host1}
`;

let bare: EmptyCluster;
beforeAll(async () => {
  bare = await startEmptyCluster();
  await Promise.all([1, 2, 3].map((number) => bare.boot(number)));
  const args = ['init', '--preseed', '--no-service', '--token', bare.bootstrapToken()];
  const { code, stderr } = await bare.longshore(1, args, { input: FIRST });
  expect(code, stderr).toBe(0);
  bare.startAgent(1);
  await untilOnline('host1');
});
afterAll(() => bare.stop());

const rows = async () => table((await bare.lxc('cluster', 'list')).stdout).rows;
const untilOnline = (name: string) =>
  waitFor(`${name} to be online`, async () =>
    (await rows()).some((row) => row[0] === name && row.includes('ONLINE')) ? true : undefined,
  );
async function newToken(name: string): Promise<string> {
  const { stdout, stderr } = await bare.lxc('cluster', 'add', name);
  expect(stdout, stderr).toContain(`Member ${name} join token:`);
  return stdout.trim().split('\n').at(-1) ?? '';
}
const join = (number: number, token: string, ...flags: string[]) =>
  bare.longshore(number, ['join', token, '--yes', '--no-service', ...flags]);

/** Kills the join as soon as it says that it takes `step`. */
const KILL_AT = `
step=$1; shift
coproc join { exec "$@" 2>&1 >/dev/null; }
while read -r line <&"\${join[0]}"; do
  if [ "$line" = "step: $step" ]; then kill -KILL "$join_PID"; break; fi
done
wait "$join_PID" 2>/dev/null
true`;

describe('a join', () => {
  it('that is killed at any step is run again, and is there once; the cluster never has half of it', async () => {
    await bare.exec(2, [
      'sh',
      '-c',
      'mkdir -p /var/lib/misc/mine; echo kept >/var/lib/misc/mine/file; ip link add br0 type bridge',
    ]);
    const token = await newToken('host2');
    const argv = [...bare.program, 'join', token, '--yes', '--no-service', '--steps'];
    for (const step of JOIN_STEPS) {
      await bare.exec(2, ['bash', '-c', KILL_AT, 'kill-at', step, ...argv]);
      const seen = (await rows()).filter((row) => row[0] === 'host2');
      // Not there, or there whole: with its share of every pool.
      if (seen.length > 0) {
        const pool = JSON.parse((await bare.lxc('query', '/1.0/storage-pools/local')).stdout);
        expect(pool.locations).toContain('host2');
      }
      expect(seen.length).toBeLessThanOrEqual(1);
    }
    const last = await join(2, token);
    expect(last.code, last.stderr).toBe(0);
    bare.startAgent(2);
    await untilOnline('host2');
    expect((await rows()).map((row) => row[0])).toEqual(['host1', 'host2']);
    expect((await bare.exec(2, ['cat', '/var/lib/misc/mine/file'])).stdout).toBe('kept\n');
    expect((await bare.exec(2, ['ls', '/etc/longshore'])).stdout.split('\n').sort()).not.toContain('join.json');
    expect((await bare.lxc('cluster', 'list-tokens', '--format', 'csv')).stdout).not.toContain('host2');
    await waitFor('the pool on host2', async () => {
      const shown = await bare.lxc('storage', 'show', 'local', '--target', 'host2');
      return shown.stdout.includes('status: Created') ? true : undefined;
    });
  });

  it('says first what it will do, and stops for what it cannot adopt with nothing changed', async () => {
    await bare.exec(3, [
      'sh',
      '-c',
      'mkdir -p /var/lib/misc/full /var/lib/misc/empty; echo x >/var/lib/misc/full/file',
    ]);
    const token = await newToken('host3');
    const full = await join(3, token, '--storage', 'plain:source=/var/lib/misc/full');
    expect(full.code).toBe(1);
    expect(full.stderr).toContain(`Cannot join: storage pool "plain": source path "/var/lib/misc/full" isn't empty`);
    await bare.exec(3, ['ip', 'link', 'add', 'br0', 'type', 'veth', 'peer', 'name', 'other']);
    const face = await join(3, token, '--storage', 'plain:source=/var/lib/misc/empty');
    expect(face.stderr).toContain(
      'Cannot join: network "br0": this host has an interface of that name that is no bridge',
    );
    await bare.exec(3, ['ip', 'link', 'del', 'br0']);
    const unknown = await join(3, token, '--storage', 'nope:source=/var/lib/misc/empty');
    expect(unknown.stderr).toContain('The cluster has no storage pool "nope"');
    expect((await bare.exec(3, ['ls', '/etc/longshore'])).stdout).toBe('');
    expect((await rows()).map((row) => row[0])).toEqual(['host1', 'host2']);

    // The token was not used up by any of this.
    await bare.exec(3, [
      'sh',
      '-c',
      'truncate -s 512M /var/lib/misc/tank.img && zpool create -m none local /var/lib/misc/tank.img',
    ]);
    const joined = await join(3, token, '--storage', 'plain:source=/var/lib/misc/empty');
    expect(joined.code, joined.stderr).toBe(0);
    expect(joined.stdout).toContain('Storage pool "local" (zfs): the empty ZFS pool local is kept and used');
    expect(joined.stdout).toContain('Network "br0": will be made');
    bare.startAgent(3);
    await untilOnline('host3');
    await waitFor('the adopted pool', async () => {
      const shown = await bare.lxc('storage', 'show', 'local', '--target', 'host3');
      return shown.stdout.includes('source: local') && shown.stdout.includes('status: Created') ? true : undefined;
    });
  });

  it('refuses a token that was used, revoked or is for another name', async () => {
    await bare.boot(4);
    const used = await newToken('host4');
    const fields = JSON.parse(Buffer.from(used, 'base64').toString());
    expect(Object.keys(fields).sort()).toEqual(['addresses', 'expires_at', 'fingerprint', 'secret', 'server_name']);
    expect((await bare.lxc('cluster', 'list-tokens', '--format', 'csv')).stdout).toContain('host4');
    expect((await join(4, used, '--name', 'other')).stderr).toContain('The token is for "host4", not for "other"');
    await bare.lxc('cluster', 'revoke-token', 'host4');
    expect((await join(4, used)).stderr).toContain('No matching cluster join operation found');
    const again = await newToken('host4');
    expect((await join(4, again)).code).toBe(0);
    const [other] = [5];
    await bare.boot(other);
    expect((await join(other, again)).stderr).toContain('No matching cluster join operation found');
    expect((await bare.exec(other, ['ls', '/etc/longshore'])).stdout).toBe('');
  });
});
