import { describe, expect, it } from 'vitest';
import { PROTOCOL_MINIMUM, PROTOCOL_VERSION } from '#protocol/version.ts';
import { BLOCKED_REASON, type MemberStanding, memberStatus } from '#worker/domain/member.ts';
import type { Order } from '#worker/objects/contract.ts';
import { fateOf } from '#worker/objects/link-age.ts';

const NOW = '2026-11-21T10:00:40.000Z';
const standing: MemberStanding = {
  name: 'host2',
  protocol: PROTOCOL_VERSION,
  agentVersion: '0.1.0',
  state: 'Created',
  online: true,
  statusReason: '',
  statusChangedAt: '2026-11-21T10:00:00.000Z',
  epoch: 1,
};

describe('a member’s status', () => {
  it.each([
    ['a current agent', {}, 'Online', /^Fully operational$/],
    ['a newer agent', { protocol: PROTOCOL_VERSION + 1 }, 'Online', /^Fully operational$/],
    ['one that has never spoken', { protocol: 0, agentVersion: '' }, 'Online', /^Fully operational$/],
    [
      'an agent one version behind',
      { protocol: PROTOCOL_VERSION - 1 },
      'Online',
      /^Fully operational, but its agent 0\.1\.0 \(protocol \d\) should be upgraded: upgrade it with "longshore agent upgrade host2"$/,
    ],
    [
      'an agent that cannot be upgraded over the link',
      { protocol: 1 },
      'Online',
      /^Fully operational, but its agent 0\.1\.0 \(protocol 1\) should be upgraded: install the cluster's release on "host2"/,
    ],
    [
      'an agent that is too old',
      { protocol: PROTOCOL_MINIMUM - 1, online: false, statusReason: BLOCKED_REASON },
      'Blocked',
      /^The agent 0\.1\.0 \(protocol 0\) is too old, protocol 1 is needed: install the cluster's release on "host2"/,
    ],
    [
      'an old agent that went away',
      { protocol: 0, online: false, statusReason: 'The link is closed' },
      'Offline',
      /^No h/,
    ],
    ['an evacuated member', { state: 'Evacuated' as const }, 'Evacuated', /maintenance/],
  ])('of %s', (_what, fields, status, message) => {
    const shown = memberStatus({ ...standing, ...fields }, NOW);
    expect(shown.status).toBe(status);
    expect(shown.message).toMatch(message);
  });
});

describe('what an agent is given', () => {
  const age = (protocol: number, blocked = false) => ({ member: 'host2', protocol, blocked });
  it('refuses what an old agent would do by half: it would make an empty instance of a copy', () => {
    const params = { copyOf: { project: 'default', name: 'c1' } };
    const copy = { name: 'instance.create', params, operationId: 'op' } as Order;
    expect([fateOf(age(1), copy), fateOf(age(2), copy)]).toEqual(['refuse', 'send']);
  });

  it.each([
    ['a current agent gets everything', age(2), 'agent.upgrade', 'op', 'send'],
    ['an agent of the first protocol gets what it knows', age(1), 'instance.create', 'op', 'send'],
    ['what it does not know is refused when somebody waits', age(1), 'instance.send', 'op', 'refuse'],
    ['and waits for a newer agent when nobody does', age(1), 'volume.create', null, 'wait'],
    ['a blocked agent gets no work', age(1, true), 'instance.create', 'op', 'wait'],
    ['but its upgrade, when it can do that', age(2, true), 'agent.upgrade', 'op', 'send'],
    ['and nobody waits for one it cannot do', age(0, true), 'agent.upgrade', 'op', 'refuse'],
  ] as const)('%s', (_what, who, name, operationId, fate) => {
    expect(fateOf(who, { name, params: {}, operationId } as Order)).toBe(fate);
  });
});
