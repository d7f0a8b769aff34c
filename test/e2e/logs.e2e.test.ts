import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { api } from './api.ts';
import { cluster, newName, removeInstances, waitFor } from './support.ts';

const name = newName('logged');
afterAll(() => removeInstances([name]));

type Line = Record<string, unknown>;

/** Lines of one part's log in which the word stands. */
function linesWith(file: string, word: string): Line[] {
  return readFileSync(join(dirname(cluster.controlDir), file), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}') && line.includes(word))
    .map((line) => JSON.parse(line) as Line);
}

const eventsOf = (lines: Line[]) => lines.map((line) => line.event ?? line.msg);

it('tells one launch in the logs of every part, by the ids of its request, its operation and its command', async () => {
  const body = JSON.stringify({ name, source: { type: 'image', alias: 'tiny' }, start: true });
  const answer = await api({ method: 'POST', path: '/1.0/instances?target=host2', body });
  expect(answer.status).toBe(202);
  const operationId = answer.body.operation?.split('/').at(-1) ?? '';
  expect((await api({ method: 'GET', path: `${answer.body.operation}/wait` })).body.metadata).toMatchObject({
    status: 'Success',
  });

  // The request, found by the id that its sender was given, names the operation and the command.
  const requestId = answer.headers['x-request-id'];
  expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
  const request = await waitFor('the request in the log', async () => {
    const lines = linesWith('log/control.log', String(requestId));
    return eventsOf(lines).includes('http.answered') ? lines : undefined;
  });
  expect(eventsOf(request)).toEqual(['operation.started', 'http.answered']);
  expect(request[0]).toMatchObject({ operationId, members: 'host2' });
  const commandId = String(request[0]?.commandIds);

  // The operation, in the control plane from its start to its end and on the host.
  const operation = await waitFor('the end in the log', async () => {
    const lines = linesWith('log/control.log', operationId);
    return eventsOf(lines).includes('operation.ended') ? lines : undefined;
  });
  expect(eventsOf(operation).sort()).toEqual(
    ['operation.started', 'command.sent', 'command.answered', 'operation.ended'].sort(),
  );
  expect(operation.find((line) => line.event === 'operation.ended')).toMatchObject({ status: 200 });
  const onHost = linesWith('host2/log/agent.log', operationId);
  expect(eventsOf(onHost)).toEqual(['command.started', 'command.finished']);
  for (const line of onHost) expect(line).toMatchObject({ commandId, command: 'instance.create', operationId });

  // The command has the same tale, and no other host has a part in it.
  expect(eventsOf(linesWith('log/control.log', commandId))).toEqual(
    expect.arrayContaining(['operation.started', 'command.sent', 'command.answered']),
  );
  for (const host of ['host1', 'host3']) expect(linesWith(`${host}/log/agent.log`, operationId)).toEqual([]);
});
