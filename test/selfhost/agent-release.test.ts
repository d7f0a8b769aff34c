import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { publishAgent } from '#selfhost/agent-release.ts';

it('offers the agent’s program under its hash, and another one beside it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-offer-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'longshore.mjs');
  const offer = async (content: string) => {
    writeFileSync(program, content);
    await publishAgent(folder, program);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const manifest: unknown = JSON.parse(readFileSync(join(folder, 'agent/release.json'), 'utf8'));
    expect(manifest).toMatchObject({ sha256, sizeBytes: content.length, protocol: PROTOCOL_VERSION });
    expect(readFileSync(join(folder, `agent/${sha256}.mjs`), 'utf8')).toBe(content);
  };
  await offer('one');
  await offer('one');
  await offer('two');
  // Who is just fetching the first one gets all of it.
  expect(readdirSync(join(folder, 'agent'))).toHaveLength(3);
});
