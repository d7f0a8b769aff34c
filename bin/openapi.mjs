/** Writes docs/openapi.json from the routes: the test that guards it, told to take what it finds. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
const { status } = spawnSync(
  process.execPath,
  [vitest, 'run', 'test/worker-unit/http/openapi.test.ts', '--project', 'unit', '--update'],
  { cwd: root, stdio: 'inherit' },
);
process.exitCode = status ?? 1;
