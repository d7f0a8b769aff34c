import { existsSync } from 'node:fs';
import { cloudflareTest } from '@cloudflare/vitest-pool-workers';
import { configDefaults, defineConfig } from 'vitest/config';

/** What needs the Incus client, where `bin/setup test` found that the machine's Debian mirror has none. */
const left = existsSync('.longshore/without-incus') ? ['test/e2e/{oidc,console,clients/incus}.e2e.test.ts'] : [];

const workerVars = {
  LIBSQL_URL: 'http://db.invalid',
  SIGNING_SECRET: 'bG9uZ3Nob3JlLXRlc3Qtc2lnbmluZy1zZWNyZXQtMzI=',
  PUBLIC_ADDRESSES: '127.0.0.1:8443',
  SERVER_CERTIFICATE: '',
};

// biome-ignore lint/style/noDefaultExport: vitest reads the default export
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{protocol,worker-unit,agent,selfhost,bench}/**/*.test.ts'],
          // A busy machine is no failure.
          testTimeout: 30_000,
          exclude: ['**/*.root.test.ts'],
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: './wrangler.toml' },
            miniflare: { bindings: workerVars, cf: false },
          }),
        ],
        test: { name: 'worker', testTimeout: 30_000, include: ['test/worker/**/*.test.ts'] },
      },
      {
        // Real tools, as root: file systems, containers, bridges. One after another: they share the kernel.
        test: {
          name: 'root',
          include: ['test/**/*.root.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        // Every route and frame of a real control plane, attacked. Nothing but the control plane is needed.
        test: {
          name: 'security',
          include: ['test/security/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
      {
        // The stock client against a three-host cluster that one global set-up makes.
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...left],
          globalSetup: ['test/harness/global-setup.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
