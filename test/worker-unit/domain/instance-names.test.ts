import { describe, expect, it } from 'vitest';
import { checkInstanceName } from '#protocol/names.ts';
import { generateHwaddr, generateInstanceName } from '#worker/domain/instance-names.ts';
import { parseArchitecture, parseInstanceType } from '#worker/domain/instance-type.ts';

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

it('generates names that are valid: two words and a hyphen', () => {
  for (let i = 0; i < 500; i++) {
    const name = generateInstanceName(random);
    expect(name).toMatch(/^[a-z]+-[a-z]+$/);
    expect(checkInstanceName(name)).toBeNull();
  }
});

it("generates hardware addresses in LXD's range", () => {
  expect(generateHwaddr(random)).toMatch(/^00:16:3e(:[0-9a-f]{2}){3}$/);
  expect(generateHwaddr(() => Uint8Array.of(0, 10, 255))).toBe('00:16:3e:00:0a:ff');
});

describe('parseInstanceType', () => {
  it.each([
    ['c2-m4', { 'limits.cpu': '2', 'limits.memory': '4GiB' }],
    ['c1', { 'limits.cpu': '1' }],
    ['m8', { 'limits.memory': '8GiB' }],
    ['c1.5-m0.5', { 'limits.cpu': '2', 'limits.memory': '512MiB' }],
    ['c0.5', { 'limits.cpu.allowance': '50%' }],
  ])('reads %s', (type, limits) => {
    expect(parseInstanceType(type)).toEqual(limits);
  });

  it.each(['', '-', 't2.micro', 'aws:t2.micro', 'c-m', 'c2m', 'x2', 'c2-m4-d5'])('refuses %j', (type) => {
    expect(parseInstanceType(type)).toBeNull();
  });
});

it("parseArchitecture takes the kernel's and the packagers' names", () => {
  expect(parseArchitecture('amd64')).toBe('x86_64');
  expect(parseArchitecture('aarch64')).toBe('aarch64');
  expect(parseArchitecture('z80')).toBeNull();
});
