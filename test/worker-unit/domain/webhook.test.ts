import { describe, expect, it } from 'vitest';
import { checkWebhookAction, checkWebhookUrl, retryDelayMs, wantsAction } from '#worker/domain/webhook.ts';

describe('the address of a webhook', () => {
  it.each([
    'https://example.com/hook',
    'https://example.com:8443/a?b=c',
    'https://8.8.8.8/',
    'https://[2a00:1450::1]/',
  ])('%s is public', (url) => {
    expect(checkWebhookUrl(url, false)).toBe(null);
  });

  it.each([
    'http://example.com/',
    'ftp://example.com/',
    'https://user:pw@example.com/',
    'https://',
    'example.com',
    'https://localhost/',
    'https://LOCALHOST./',
    'https://db.internal/',
    'https://router/',
    'https://10.0.0.1/',
    'https://127.1/',
    'https://0x7f000001/',
    'https://2130706433/',
    'https://169.254.169.254/latest/meta-data',
    'https://100.64.0.1/',
    'https://0.0.0.0/',
    'https://[::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://[fd00::1]/',
    'https://[fe80::1]/',
    'https://[64:ff9b::a00:1]/',
  ])('%s is refused', (url) => {
    expect(checkWebhookUrl(url, false)).not.toBe(null);
  });

  it('may be private and plain when an administrator allows it, but never another scheme', () => {
    expect(checkWebhookUrl('http://10.0.0.1:8080/', true)).toBe(null);
    expect(checkWebhookUrl('file:///etc/passwd', true)).not.toBe(null);
  });
});

it('actions are wanted by name or by family, and all of them when none is named', () => {
  expect(wantsAction([], 'profile-created')).toBe(true);
  expect(wantsAction(['instance-*'], 'instance-started')).toBe(true);
  expect(wantsAction(['instance-*', 'image-created'], 'image-deleted')).toBe(false);
  expect([checkWebhookAction('instance-*'), checkWebhookAction('*'), checkWebhookAction('a b')].map(Boolean)).toEqual([
    false,
    true,
    true,
  ]);
});

it('what fails is tried again ever later, for more than a day, and then given up', () => {
  const delays = Array.from({ length: 9 }, (_, attempt) => retryDelayMs(attempt + 1, 0) ?? 0);
  expect(delays).toEqual([...delays].sort((a, b) => a - b));
  expect(delays.reduce((sum, delay) => sum + delay, 0)).toBeGreaterThan(86_400_000);
  expect(retryDelayMs(10, 0)).toBe(null);
});
