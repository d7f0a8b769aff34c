import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { InstanceConsolePost, InstancesPost } from '#protocol/api/instance.ts';
import { protocolOfOrder } from '#protocol/since.ts';
import { openConsole } from '#worker/services/instance-console.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { instances } from '#worker/state/schema.ts';
import { openWorld, type World } from './instance-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
  const body = InstancesPost.parse({ name: 'c1', source: { type: 'image', alias: 'bb' } });
  await createInstance(world.ctx, { project: 'default', target: null, body });
  await setStatus('Running');
  world.asked.delivered.length = 0;
});
afterEach(() => world.close());

const setStatus = (status: 'Running' | 'Stopped' | 'Frozen') =>
  world.db.update(instances).set({ status }).where(eq(instances.name, 'c1'));
const open = (body: unknown) => openConsole(world.ctx, 'default', 'c1', InstanceConsolePost.parse(body));

it('answers an operation with two sockets, and asks a member that knows consoles', async () => {
  const operation = await open({ width: 100, height: 50, type: 'console' });
  expect(operation).toMatchObject({ class: 'websocket', description: 'Showing console' });
  expect(Object.keys(operation.metadata?.fds as object)).toEqual(['0', 'control']);
  expect(world.asked.opened).toMatchObject([{ id: operation.id, kind: 'exec', interactive: true }]);
  const command = world.asked.delivered[0]?.command;
  expect(command).toMatchObject({
    name: 'instance.exec',
    params: { console: true, streamId: operation.id, interactive: true, attach: true, width: 100, height: 50 },
  });
  expect(command && protocolOfOrder(command)).toBe(3);
});

it.each([
  [{ type: 'vga' }, 'VGA console is only supported by virtual machines'],
  [{ type: 'serial' }, 'Unknown console type "serial"'],
  [{ width: -1 }, 'Invalid terminal size "-1"'],
])('refuses %j', async (body, message) => {
  await expect(open(body)).rejects.toMatchObject({ status: 400, message });
  expect(world.asked.opened).toEqual([]);
});

it.each([
  ['Stopped', 'Instance is not running'],
  ['Frozen', 'Instance is frozen'],
] as const)('refuses the console of an instance that is %s', async (status, message) => {
  await setStatus(status);
  await expect(open({})).rejects.toMatchObject({ status: 400, message });
});
