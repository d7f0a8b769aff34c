import { it, onTestFinished } from 'vitest';
import { startDaemon } from '#selfhost/run.ts';
import { supervise } from '#selfhost/supervisor.ts';
import { waitFor } from '#selfhost/wait.ts';

it('ends what runs and does not work, and starts it again', async () => {
  let works = true;
  const lines: string[] = [];
  const service = await supervise(
    {
      name: 'sleeper',
      start: () => startDaemon('sleep', ['600'], {}),
      ready: () => Promise.resolve(),
      graceMs: 1_000,
      probe: () => (works ? Promise.resolve() : Promise.reject(new Error('stuck'))),
    },
    (line) => lines.push(line),
  );
  onTestFinished(() => service.stop());
  const first = service.pid();
  works = false;
  await waitFor('it to be ended', () => lines.some((line) => line.includes('does not work')), { timeoutMs: 20_000 });
  works = true;
  await waitFor('another one', () => service.pid() !== undefined && service.pid() !== first, { timeoutMs: 20_000 });
});
