import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '#agent/config.ts';
import { endMembership, findRemoval, forgetRemoval, hasJoinedAgain, keepName } from '#agent/leave/membership.ts';
import { createIdentity } from '#agent/link/identity.ts';

const YAML = `# Written by hand.\nserver: ["https://control:8443"]\nmember: host1 # the first\nsocketGroup: adm\n`;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-leave-'));
  path = join(directory, 'agent.yaml');
  join1();
});
afterEach(() => rmSync(directory, { recursive: true }));

/** What a join leaves: a new key and the configuration. */
function join1(): void {
  writeFileSync(join(directory, 'agent.key'), createIdentity().pem);
  writeFileSync(path, YAML);
}
const config = () => parseConfig(readFileSync(path, 'utf8'), path, {});
const removal = { message: '"host1" was removed', cleanUp: false };

describe('keepName', () => {
  it('changes the name alone', () => {
    keepName(path, 'host9');
    expect(readFileSync(path, 'utf8')).toContain('# Written by hand.');
    expect(config()).toMatchObject({ member: 'host9', socketGroup: 'adm' });
  });
});

describe('a removal', () => {
  it('ends the membership and remembers by what the host was one', () => {
    endMembership(path, config(), removal);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(join(directory, 'agent.key'))).toBe(false);
    expect(findRemoval(path, {})).toMatchObject({ ...removal, config: { member: 'host1', socketGroup: 'adm' } });
  });

  it('that was cut off is finished at the next start', () => {
    const before = [path, join(directory, 'agent.key')].map((file) => [file, readFileSync(file)] as const);
    endMembership(path, config(), removal);
    for (const [file, content] of before) writeFileSync(file, content);
    expect(findRemoval(path, {})).toMatchObject(removal);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(join(directory, 'agent.key'))).toBe(false);
  });

  it('is over when the host has joined again, not before its configuration is there', () => {
    endMembership(path, config(), removal);
    const record = findRemoval(path, {});
    if (record === null) throw new Error('no record');
    writeFileSync(join(directory, 'agent.key'), createIdentity().pem);
    expect(hasJoinedAgain(path, record)).toBe(false);
    expect(findRemoval(path, {})).toMatchObject(removal);
    join1();
    expect(hasJoinedAgain(path, record)).toBe(true);
    expect(findRemoval(path, {})).toBeNull();
    expect(existsSync(path)).toBe(true);
  });

  it('can be forgotten', () => {
    endMembership(path, config(), removal);
    forgetRemoval(path);
    expect(findRemoval(path, {})).toBeNull();
  });
});
