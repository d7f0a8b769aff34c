/** Backup and restore of a real control plane, by its own command line. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { expect, it, onTestFinished } from 'vitest';
import { startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { inRepository } from '#selfhost/paths.ts';
import { run } from '#selfhost/run.ts';

async function scratch(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'longshore-bk-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function start(dataDir: string) {
  const plane = await startControlPlane({
    ...{ dataDir, listen: [{ host: '127.0.0.1', port: 0 }], addresses: ['127.0.0.1:8443'] },
    log: () => {},
  });
  let running = true;
  const stop = async () => {
    if (running) await plane.stop();
    running = false;
  };
  onTestFinished(stop);
  const { databaseToken: authToken } = await ensureSecrets(dataDir);
  const database = createClient({ url: `http://127.0.0.1:${plane.databasePort}`, authToken });
  onTestFinished(() => database.close());
  return { fingerprint: plane.fingerprint, stop, database };
}

const command = (dataDir: string, task: string, file: string) =>
  run(inRepository('bin/longshore'), [task, file, '--data', dataDir], { allowFailure: true });

it('restores what was there at the backup, with the certificate that clients have pinned', async () => {
  const dir = await scratch();
  const file = path.join(dir, 'backup.tar.gz');
  const first = await start(path.join(dir, 'a'));
  const add = (name: string) =>
    first.database.execute({
      sql: 'insert into server_config (key, value) values (?, ?)',
      args: [`user.${name}`, name],
    });
  await add('before');
  expect((await command(path.join(dir, 'a'), 'backup', file)).stderr).toBe('');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await add('after');
  await first.stop();

  expect((await command(path.join(dir, 'b'), 'restore', file)).code).toBe(0);
  const second = await start(path.join(dir, 'b'));
  expect(second.fingerprint).toBe(first.fingerprint);
  const { rows } = await second.database.execute("select key from server_config where key like 'user.%'");
  expect(rows.map(({ key }) => key)).toEqual(['user.before']);
});

it('overwrites nothing', async () => {
  const dir = await scratch();
  const plane = await start(path.join(dir, 'a'));
  const file = path.join(dir, 'backup.tar.gz');
  await command(path.join(dir, 'a'), 'backup', file);
  const refused = await command(path.join(dir, 'a'), 'restore', file);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('restore into an empty directory');
  expect((await plane.database.execute('select 1 as n')).rows[0]?.n).toBe(1);
});
