/** Both halves of a move over the fakes, joined by a stream in memory. */
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { CommandContext, Host } from '#agent/commands/host.ts';
import type { RelayStream } from '#agent/streams/relay.ts';
import type { CommandParams } from '#protocol/commands.ts';
import { failed, toWireError, unavailable } from '#protocol/errors.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

const states: FakeHostState[] = [];
const newState = () => {
  const state = createFakeState();
  states.push(state);
  return state;
};
afterEach(() => {
  for (const state of states.splice(0)) state.cleanup();
});

const spec = instanceSpec();
const receiving: CommandParams<'instance.receive'> = {
  spec,
  pool: poolSpec(),
  networks: [networkSpec()],
  streamId: 's',
  from: 'host1',
  volatile: {},
  start: true,
  evacuates: null,
};
const sending: CommandParams<'instance.send'> = {
  spec,
  streamId: 's',
  to: 'host2',
  stop: { timeoutSeconds: 1 },
  progress: 'evacuation_progress',
};

/** What each side of the stream was told. */
interface Line {
  relay: RelayStream;
  gaveUp: unknown[];
}

function createLine(options: { content?: () => Readable; refusal?: Error } = {}): Line {
  const gaveUp: unknown[] = [];
  return {
    gaveUp,
    relay: {
      awaitTarget: async () => {
        if (options.refusal) throw options.refusal;
      },
      send: async (content, { beforeEnd, onSent }) => {
        for await (const chunk of content) onSent(chunk.length);
        beforeEnd();
      },
      receive: async () => options.content?.() ?? Readable.from([Buffer.from('volume')]),
      giveUp: async (error) => {
        gaveUp.push(error);
        return error;
      },
    },
  };
}

const withLine = (state: FakeHostState, { relay }: Line): Host => ({
  ...createFakeHost(state),
  openRelay: () => relay,
});
const send = (host: Host, params = sending, context: CommandContext = fakeContext()) =>
  execute(host, context, { name: 'instance.send', params });
const receive = (host: Host, context: CommandContext = fakeContext()) =>
  execute(host, context, { name: 'instance.receive', params: receiving });

/** c1 runs on the host. */
async function launched(host: Host): Promise<void> {
  const params = { spec, image: imageSource(), pool: poolSpec(), networks: [networkSpec()], start: true };
  await execute(host, fakeContext(), { name: 'instance.create', params });
}

const statusOf = (host: Host) => host.instances.status({ project: spec.project, name: spec.name });
const isEmpty = (state: FakeHostState, host: Host) => {
  expect([...state.volumes.keys(), ...state.nics, ...state.setups.keys()]).toEqual([]);
  expect(host.journal.instances.list()).toEqual([]);
};

describe('instance.send', () => {
  it('stops what runs when the other side is there, and keeps its own copy', async () => {
    const state = newState();
    const host = withLine(state, createLine());
    await launched(host);
    const lines: unknown[] = [];
    await send(host, sending, fakeContext({ progress: (line) => lines.push(line) }));
    expect(await statusOf(host)).toBe('Stopped');
    // Not to be started at the next boot: it may be somewhere else by then.
    expect(host.journal.instances.find(spec)?.power).toBe('STOPPED');
    expect(state.volumes.size).toBe(1);
    expect(lines).toEqual([
      { evacuation_progress: `Stopping "${spec.name}" in project "${spec.project}"` },
      { evacuation_progress: `Migrating "${spec.name}" in project "${spec.project}" to "host2"` },
    ]);
  });

  it('leaves it running when the other side never comes', async () => {
    const state = newState();
    const line = createLine({ refusal: unavailable('Cluster member "host2" has given up') });
    const host = withLine(state, line);
    await launched(host);
    await expect(send(host)).rejects.toMatchObject({ code: 'unavailable' });
    expect(await statusOf(host)).toBe('Running');
  });

  it('refuses a running instance that nobody said to stop', async () => {
    const host = withLine(newState(), createLine());
    await launched(host);
    await expect(send(host, { ...sending, stop: null })).rejects.toThrow('Instance is running');
    expect(await statusOf(host)).toBe('Running');
  });

  it('tells the other side when its own fails', async () => {
    const state = newState();
    const line = createLine();
    const host = withLine(state, line);
    await launched(host);
    state.at = (point) => {
      if (point === 'before volume.send') throw failed('no snapshot');
    };
    await expect(send(host)).rejects.toThrow('no snapshot');
    expect(line.gaveUp.map(toWireError)).toEqual([{ code: 'failed', message: 'no snapshot' }]);
  });

  it('fails after a crash, unless the other side may have everything', async () => {
    const host = withLine(newState(), createLine());
    await launched(host);
    const context = fakeContext();
    await expect(send(host, sending, { ...context, resumed: true })).rejects.toThrow('restarted');
    await send(host, sending, context);
    expect(await send(host, sending, { ...context, resumed: true })).toEqual({});
  });
});

describe('instance.receive', () => {
  it('makes the instance, stopped, with the networks it needs', async () => {
    const state = newState();
    const host = withLine(state, createLine());
    const outcome = await receive(host);
    expect(outcome.report).toMatchObject({ name: spec.name, status: 'Stopped' });
    expect(state.volumes.size).toBe(1);
    expect(host.journal.instances.find(spec)).toMatchObject({ power: 'STOPPED', pool: poolSpec().name });
  });

  it('leaves nothing when the stream breaks, and tells the other side why', async () => {
    const state = newState();
    const line = createLine({
      content: () =>
        Readable.from(
          (async function* () {
            yield Buffer.from('half');
            throw unavailable('The transfer broke off');
          })(),
        ),
    });
    const host = withLine(state, line);
    await expect(receive(host)).rejects.toMatchObject({ code: 'unavailable' });
    expect(line.gaveUp).toHaveLength(1);
    isEmpty(state, host);
  });

  it.each(['before volume.receive', 'after volume.receive', 'before instance.configure', 'before volume.mount'])(
    'leaves nothing when it fails %s',
    async (point) => {
      const state = newState();
      const host = withLine(state, createLine());
      state.at = (at) => {
        if (at === point) throw failed('broken');
      };
      await receive(host).then(
        () => expect(state.calls).not.toContain(point.split(' ')[1]),
        () => isEmpty(state, host),
      );
    },
  );

  it('after a crash goes on with a whole volume, and undoes half of one', async () => {
    const state = newState();
    const host = withLine(state, createLine());
    const context = fakeContext();
    await receive(host, context);
    expect(await receive(host, { ...context, resumed: true })).toMatchObject({ report: { status: 'Stopped' } });

    const other = newState();
    const second = withLine(other, createLine());
    await expect(receive(second, fakeContext({ resumed: true }))).rejects.toThrow('restarted');
    isEmpty(other, second);
  });

  it('never takes the place of another instance', async () => {
    const state = newState();
    const host = withLine(state, createLine());
    await launched(host);
    const params = { ...receiving, spec: { ...spec, id: 'another' } };
    await expect(execute(host, fakeContext(), { name: 'instance.receive', params })).rejects.toThrow('already exists');
    expect(await statusOf(host)).toBe('Running');
    // Nor does cleaning up after it.
    const removal = { ref: { project: spec.project, name: spec.name }, pool: null, id: 'another' };
    await execute(host, fakeContext(), { name: 'instance.delete', params: removal });
    expect(await statusOf(host)).toBe('Running');
  });
});

describe('instance.create of a copy', () => {
  const copySpec = instanceSpec({ id: 'copy', name: 'c2' });
  const copying = { spec: copySpec, image: null, pool: poolSpec(), networks: [networkSpec()], start: true };
  const create = (host: Host, params: CommandParams<'instance.create'>, context = fakeContext()) =>
    execute(host, context, { name: 'instance.create', params });

  it('takes the volume of a neighbour, which may run', async () => {
    const state = newState();
    const host = createFakeHost(state);
    await launched(host);
    const copyOf = { project: spec.project, name: spec.name };
    const context = fakeContext();
    expect((await create(host, { ...copying, copyOf }, context)).report).toMatchObject({
      name: 'c2',
      status: 'Running',
    });
    expect(state.volumes.size).toBe(2);
    // After a crash it is not made anew.
    await create(host, { ...copying, copyOf }, { ...context, resumed: true });
    expect(state.calls.filter((call) => call === 'volume.copy')).toHaveLength(1);
  });

  it('takes what another host sends, or leaves nothing', async () => {
    const host = withLine(newState(), createLine());
    expect((await create(host, { ...copying, streamId: 's', from: 'host1' })).report).toMatchObject({
      status: 'Running',
    });
    const state = newState();
    const refused = withLine(state, createLine({ content: () => Readable.from(failing()) }));
    await expect(create(refused, { ...copying, streamId: 's', from: 'host1' })).rejects.toThrow('broke off');
    isEmpty(state, refused);
  });
});

async function* failing(): AsyncGenerator<Buffer> {
  yield Buffer.from('half');
  throw unavailable('The transfer broke off');
}
