import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  chooseRelease,
  confirmRelease,
  isOnTrial,
  pointTo,
  readPointer,
  releasePath,
  sha256Of,
} from '#agent/release/store.ts';

let dataDir = '';
let base = '';
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'longshore-release-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  base = join(dataDir, 'base.mjs');
  writeFileSync(base, 'base');
  mkdirSync(join(dataDir, 'agent'));
});

/** A release is put in place by the program `own`. */
function install(content: string, own = base): string {
  const draft = join(dataDir, 'draft');
  writeFileSync(draft, content);
  const sha256 = sha256Of(draft);
  const path = releasePath(dataDir, sha256);
  writeFileSync(path, content);
  pointTo(dataDir, { sha256, version: '2' }, own);
  return path;
}

const start = () => chooseRelease(dataDir, base);

describe('the release to start', () => {
  it('is the base where there was no upgrade', () => {
    expect(start()).toBeNull();
  });

  it('is the new one, which stays once it is welcomed', () => {
    const release = install('one');
    expect([start(), isOnTrial(dataDir, release)]).toEqual([release, true]);
    confirmRelease(dataDir, release);
    expect([start(), start(), start(), isOnTrial(dataDir, release)]).toEqual([release, release, release, false]);
  });

  it('runs itself and nothing else when asked from within', () => {
    const release = install('one');
    expect(chooseRelease(dataDir, release)).toBeNull();
  });

  it('is the base again when the new one was not welcomed in two starts', () => {
    const release = install('bad');
    expect([start(), start(), start(), start()]).toEqual([release, release, null, null]);
    expect(readPointer(dataDir)).toMatchObject({ state: 'failed', failed: sha256Of(release) });
  });

  it('is the good release before it, not the base, when there was one', () => {
    const good = install('good');
    start();
    confirmRelease(dataDir, good);
    const bad = install('bad', good);
    expect([start(), start(), start(), start()]).toEqual([bad, bad, good, good]);
    expect(readPointer(dataDir)).toMatchObject({ state: 'good', failed: sha256Of(bad) });
  });

  it('is the base when the release on disk is not the one that was verified', () => {
    const release = install('one');
    writeFileSync(release, 'changed');
    expect(start()).toBeNull();
  });

  it('is a base that was installed after the upgrade', () => {
    install('one');
    writeFileSync(base, 'a newer package');
    expect([start(), readPointer(dataDir)]).toEqual([null, null]);
  });

  it('is the base when what says otherwise cannot be read', () => {
    writeFileSync(join(dataDir, 'agent/release.json'), '{');
    expect(start()).toBeNull();
  });
});
