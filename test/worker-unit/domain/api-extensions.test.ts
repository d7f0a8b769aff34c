/**
 * Every announced extension is true: a test shows it, and this one sees to it that there is such a test. An extension without
 * a row, and a row whose test is gone or skipped, fail.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { API_EXTENSIONS } from '#worker/domain/api-extensions.ts';

const ROOT = new URL('../../../test/', import.meta.url);

/** Where `shows('<extension>', …)` stands. */
const SHOWN_THERE = 'e2e/extensions.e2e.test.ts';

/** Extension → file below `test/` and the name of the test. What is not here is shown in `SHOWN_THERE`. */
const SHOWN_BY: Record<string, [file: string, test: string]> = {
  directory_manipulation: ['e2e/files.e2e.test.ts', 'makes parent directories with -p and copies a tree with -r'],
  file_delete: ['e2e/files.e2e.test.ts', 'deletes a file, and works on a stopped instance'],
  container_exec_signal_handling: [
    'agent/streams/exec.test.ts',
    'talks on one channel both ways, and hears of sizes and signals',
  ],
  console: [
    'e2e/console.e2e.test.ts',
    'shows what is written to it, takes what is typed, and is left with ctrl-a q: %s',
  ],
  container_only_migration: [
    'e2e/clients/incus.e2e.test.ts',
    'copies an instance, renames the copy, moves it to another member and deletes it',
  ],
  container_exec_user_group_cwd: ['e2e/exec.e2e.test.ts', 'takes environment, working directory and user'],
  network: ['e2e/resources.e2e.test.ts', 'lists and shows networks and their leases'],
  storage: ['e2e/resources.e2e.test.ts', 'lists, shows and sizes storage pools'],
  storage_volatile_initial_source: ['e2e/walkthroughs/storage.e2e.test.ts', 'is made everywhere by the last call'],
  storage_api_volume_rename: ['e2e/walkthroughs/storage.e2e.test.ts', 'get another name, and go'],
  storage_volume_state: ['worker-unit/services/storage-volumes.test.ts', 'says how full it is'],
  image_create_aliases: [
    'worker-unit/services/images.test.ts',
    'whose inspection fails leaves nothing, and its aliases are free',
  ],
  clustering: ['e2e/cluster.e2e.test.ts', 'lists three members online, in LXD’s columns'],
  clustering_join: ['e2e/walkthroughs/stock-init.e2e.test.ts', 'joins by trust password'],
  clustering_join_token: [
    'e2e/cluster.e2e.test.ts',
    'prints a token with which a fourth host is online within 5 s; a second use is refused',
  ],
  cluster_join_token_expiry: ['e2e/cluster.e2e.test.ts', 'refuses an expired and a revoked token'],
  clustering_server_address: ['e2e/walkthroughs/stock-init.e2e.test.ts', 'joins by token'],
  clustering_roles: [
    'e2e/walkthroughs/managing.e2e.test.ts',
    'takes and gives up roles; automatic ones are not the user’s',
  ],
  clustering_edit_roles: [
    'e2e/walkthroughs/managing.e2e.test.ts',
    'takes and gives up roles; automatic ones are not the user’s',
  ],
  clustering_failure_domains: [
    'e2e/walkthroughs/managing.e2e.test.ts',
    'takes a description and a failure domain by lxc cluster edit, and lists them',
  ],
  clustering_description: [
    'e2e/walkthroughs/managing.e2e.test.ts',
    'takes a description and a failure domain by lxc cluster edit, and lists them',
  ],
  clustering_config: ['e2e/walkthroughs/managing.e2e.test.ts', 'keeps its configuration keys, and refuses others'],
  clustering_groups: ['e2e/walkthroughs/managing.e2e.test.ts', 'are created, filled, shown and listed'],
  clustering_evacuation: [
    'e2e/evacuate.e2e.test.ts',
    'moves what can move, stops what cannot; restore brings all of it back',
  ],
  cluster_internal_copy: ['e2e/move.e2e.test.ts', 'on %s makes another instance, here or on another host'],
  cluster_member_state: ['e2e/walkthroughs/managing.e2e.test.ts', 'tells its load, memory and storage'],
  projects: ['e2e/projects.e2e.test.ts', 'is created, listed, shown, set, switched to, renamed and deleted'],
  warnings: ['worker-unit/http/server.test.ts', 'are listed, acknowledged, reset and forgotten'],
  metrics: ['e2e/metrics.e2e.test.ts', 'has the instances of all three hosts, at the first look'],
  certificate_project: ['e2e/projects.e2e.test.ts', 'sees and touches nothing outside of it'],
  certificate_token: ['e2e/projects.e2e.test.ts', 'is let in by a token, and finds itself in its project'],
  remote_token_expiry: ['worker-unit/http/trust.test.ts', 'do not work any more when cancelled or expired'],
  oidc: ['e2e/oidc.e2e.test.ts', 'is logged in once a person has allowed it, and never by a wrong password'],
  longshore_placement: [
    'e2e/walkthroughs/placement.e2e.test.ts',
    'gives a host that is short of memory nothing, and says why',
  ],
  longshore_agent_upgrade: ['e2e/walkthroughs/versions.e2e.test.ts', 'replaces the agent while its instances go on'],
  longshore_triggers: ['e2e/webhooks.e2e.test.ts', 'launches once, though it comes 50 times at once'],
  longshore_webhooks: ['e2e/webhooks.e2e.test.ts', 'is told what happens, signed, and again when it was not there'],
  longshore_idempotency: ['e2e/webhooks.e2e.test.ts', 'makes one instance of 20 requests at once'],
  longshore_events_since: ['e2e/webhooks.e2e.test.ts', 'are read from a cursor on'],
  longshore_tokens: ['e2e/tokens.e2e.test.ts', 'open the API to who has no certificate, until they are revoked'],
  longshore_users: ['e2e/oidc.e2e.test.ts', 'sees what its user may, and nothing once the user is removed'],
};

const quote = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const read = (file: string) => readFile(new URL(file, ROOT), 'utf8');

describe('an announced extension', () => {
  it.each(API_EXTENSIONS)('%s is shown by a test that exists and runs', async (extension) => {
    const [file, test] = SHOWN_BY[extension] ?? [SHOWN_THERE, null];
    const text = await read(file);
    const call = test === null ? `shows\\(\\s*'${extension}',` : `\\(\\s*['"\`]${quote(test)}['"\`],`;
    const where = `${extension}: no such test in test/${file}: ${test ?? call}`;
    expect(new RegExp(call).test(text), where).toBe(true);
    expect(/\b(it|test|describe)\.(skip|only|todo)\b/.exec(text)?.[0]).toBeUndefined();
  });

  it('is announced once, and each row is of one that is announced', () => {
    expect(new Set(API_EXTENSIONS).size).toBe(API_EXTENSIONS.length);
    expect(Object.keys(SHOWN_BY).filter((extension) => !API_EXTENSIONS.includes(extension))).toEqual([]);
  });

  it('is none that changes how clients behave without being there', () => {
    for (const name of ['storage_and_profile_operations', 'explicit_trust_token']) {
      expect(API_EXTENSIONS).not.toContain(name);
    }
  });
});

it('has no test among the shown ones that it is not announced for', async () => {
  const shown = [...(await read(SHOWN_THERE)).matchAll(/\bshows\(\s*'(\w+)',/g)].map(([, extension]) => extension);
  expect(shown.filter((extension) => extension === undefined || !API_EXTENSIONS.includes(extension))).toEqual([]);
});
