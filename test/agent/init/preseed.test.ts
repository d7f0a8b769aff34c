import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { explainPreseed } from '#agent/init/explain.ts';
import { checkReferences } from '#agent/init/form.ts';
import { fingerprintOfPem } from '#agent/init/join-section.ts';
import { isJoining, parsePreseed, renderPreseed } from '#agent/init/preseed.ts';
import { mergePreseeds } from '#agent/init/staged.ts';

const guide = (name: string) => readFileSync(`test/fixtures/preseed/${name}.yaml`, 'utf8');

describe('the preseeds of LXD’s guide', () => {
  it('are read as published: numbers become strings, absent sections empty', () => {
    const preseed = parsePreseed(guide('bootstrap'));
    expect(preseed.config).toEqual({
      'core.trust_password': 'sekret',
      'core.https_address': '10.55.60.171:8443',
      'images.auto_update_interval': '15',
    });
    expect(preseed.storage_pools).toMatchObject([{ name: 'default', driver: 'dir', config: {} }]);
    expect(preseed.networks[0]?.config).toEqual({ 'ipv4.address': '192.168.100.14/24', 'ipv6.address': 'none' });
    expect(preseed.profiles[0]?.devices.eth0).toMatchObject({ nictype: 'bridged', parent: 'lxdbr0' });
    expect(preseed.cluster).toMatchObject({ server_name: 'node1', enabled: true });
    expect(preseed.cluster !== null && isJoining(preseed.cluster)).toBe(false);
    expect(() => checkReferences(preseed)).not.toThrow();
  });

  it.each(['join-3.0', 'join-4.0', 'join-token'])('%s names a cluster to join', (name) => {
    const { cluster } = parsePreseed(guide(name));
    expect(cluster !== null && isJoining(cluster)).toBe(true);
    if (name !== 'join-token') expect(cluster?.cluster_certificate).toContain('opyQ1VRpAg2sV2C4W8irbNqeUsTe');
  });

  it('say of each key that has another effect here what it is', () => {
    const lines = explainPreseed(parsePreseed(guide('join-3.0')), 'join').join('\n');
    for (const key of ['core.https_address', 'cluster_certificate', 'images.auto_update_interval', 'profiles']) {
      expect(lines).toContain(key);
    }
    expect(explainPreseed(parsePreseed(guide('bootstrap')), 'form').join('\n')).toContain('config.core.https_address');
  });
});

describe('a preseed that is not good', () => {
  it.each([
    ['a: [1', 'line 1'],
    ['config:\n  a: b\n bad', 'line'],
    ['storage_pool: []', 'unknown key storage_pool'],
    ['storage_pools:\n- name: x\n  drivers: dir', 'unknown key storage_pools[0].drivers'],
    ['cluster:\n  member_config:\n  - entity: disk\n    name: a\n    key: b', 'cluster.member_config[0].entity'],
    ['networks: lxdbr0', 'networks'],
    ['config:\n  core.trust_password: [a]', 'config.core.trust_password'],
    ['just text', 'the document'],
  ])('%j is refused by its line or path', (text, where) => {
    expect(() => parsePreseed(text)).toThrow(where);
  });

  it('names a pool that is nowhere, ahead of everything', () => {
    const text = 'profiles:\n- name: default\n  devices:\n    root: {type: disk, path: /, pool: nope}';
    expect(() => checkReferences(parsePreseed(text))).toThrow(
      'profiles[0].devices.root.pool: there is no storage pool "nope"',
    );
  });
});

it('is printed so that it reads as the same', () => {
  const preseed = parsePreseed(guide('bootstrap'));
  expect(parsePreseed(renderPreseed(preseed))).toEqual(preseed);
  const joining = parsePreseed(guide('join-4.0'));
  expect(Object.keys(parse(renderPreseed(joining)))).toEqual(['cluster']);
});

it('takes the later word of two, and keeps what only one says', () => {
  const first = parsePreseed('config: {a: 1, b: 1}\nnetworks:\n- name: lxdbr0\n- name: other');
  const second = parsePreseed('config: {b: 2}\nnetworks:\n- name: lxdbr0\n  description: mine');
  const merged = mergePreseeds(first, second);
  expect(merged.config).toEqual({ a: '1', b: '2' });
  expect(merged.networks.map(({ name, description }) => [name, description])).toEqual([
    ['other', ''],
    ['lxdbr0', 'mine'],
  ]);
});

it('refuses a certificate that is none', () => {
  expect(() => fingerprintOfPem('-----BEGIN CERTIFICATE-----\n\nAAAA\n\n-----END CERTIFICATE-----')).toThrow(
    'not a certificate',
  );
});
