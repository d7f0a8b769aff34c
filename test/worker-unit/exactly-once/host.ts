/** The host: the agent's real link, dispatcher and journal, one life after the other, on a host that remembers what was done to it. */
import type { KeyObject } from 'node:crypto';
import type { CommandContext } from '#agent/commands/host.ts';
import { createDispatcher } from '#agent/dispatcher.ts';
import { instanceKey, type Journal } from '#agent/journal/journal.ts';
import { signPayload } from '#agent/link/identity.ts';
import { createLink } from '#agent/link/link.ts';
import { silentLog } from '#agent/log.ts';
import type { Command, InstanceRef } from '#protocol/commands.ts';
import { failed, notFound } from '#protocol/errors.ts';
import type { InstanceReport } from '#protocol/inventory.ts';
import { RESOURCES } from '../state/helpers.ts';
import { MEMBER } from './control.ts';
import type { Steps } from './steps.ts';
import type { Wire } from './wire.ts';

/** Survives every life of the agent, as disk and kernel do. */
export interface Host {
  journal: Journal;
  instances: Map<string, { id: string; status: 'Running' | 'Stopped' }>;
  epoch: number;
  /** Command → how often it has changed something, less what it has undone. */
  effects: Map<string, number>;
  /** Commands whose outcome is in the journal. */
  ended: Set<string>;
  /** What must never happen. */
  wrongs: string[];
}

const LOAD = { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 2, cpuLoad: 0 };

/** One life of the agent's process. */
export class Agent {
  readonly #steps: Steps;
  readonly #host: Host;
  readonly #begun = new Set<string>();
  readonly #dispatcher: ReturnType<typeof createDispatcher>;
  readonly #link: ReturnType<typeof createLink>;

  constructor({ steps, host, identity }: { steps: Steps; host: Host; identity: KeyObject }) {
    this.#steps = steps;
    this.#host = host;
    host.epoch += 1;
    this.#link = createLink({
      ...{ server: ['http://127.0.0.1:1'], fingerprint: null, member: MEMBER, epoch: host.epoch, bootId: 'one boot' },
      ...{ identity, signature: signPayload, log: silentLog, backoff: () => 250 },
      describeHost: async () => ({ resources: RESOURCES, load: LOAD }),
      keepName: () => {},
    });
    this.#dispatcher = createDispatcher({
      journal: this.#livingJournal(),
      log: silentLog,
      send: this.#link.send,
      slots: 4,
      execute: (command, context) => this.#execute(command, context),
      onFinished: (command) => void host.ended.add(command.id),
    });
    this.#link.start({
      onWelcome: () => {
        this.#dispatcher.resend();
        this.#link.send({ type: 'inventory', full: true, instances: this.#reports() });
      },
      onFrame: (frame) => {
        if (frame.type === 'command') this.#dispatcher.take(frame);
        else if (frame.type === 'cancel') this.#dispatcher.cancel(frame.id);
        else if (frame.type === 'result-ack') this.#dispatcher.acknowledge(frame.id);
      },
      onRemoved: () => {},
    });
    this.#dispatcher.start();
  }

  /** SIGKILL. What it has sent may still arrive. */
  kill(wire: Wire): void {
    this.#steps.kill(this);
    this.#dispatcher.stop();
    void this.#link.stop();
    wire.cut('late');
  }

  #livingJournal(): Journal {
    return new Proxy(this.#host.journal, {
      get: (target, property) => {
        if (this.#steps.isDead(this)) throw new Error('A dead process wrote to the journal');
        return Reflect.get(target, property);
      },
    });
  }

  #reports(): InstanceReport[] {
    const { instances, journal } = this.#host;
    return journal.instances.list().map(({ spec }) => {
      const status = instances.get(instanceKey(spec))?.status ?? 'Stopped';
      return { project: spec.project, name: spec.name, status, state: null };
    });
  }

  #changed(id: string, by: 1 | -1): void {
    const { effects, wrongs } = this.#host;
    const count = (effects.get(id) ?? 0) + by;
    effects.set(id, count);
    if (count > 1) wrongs.push(`${id} took effect ${count} times`);
  }

  /** Looks first and then acts, with time between any two steps, as executors do. */
  async #execute(command: Command, context: CommandContext): Promise<unknown> {
    const { id } = command;
    const { ended, wrongs } = this.#host;
    if (this.#begun.has(id)) wrongs.push(`${id} was begun twice by one process`);
    if (ended.has(id)) wrongs.push(`${id} was begun after its end`);
    this.#begun.add(id);
    await this.#steps.gate(this);
    if (command.name === 'instance.create') return await this.#create(command, context);
    if (command.name === 'instance.delete') return await this.#delete(command);
    if (command.name === 'instance.state') return await this.#change(command, context);
    throw failed(`${command.name} is not part of this test`);
  }

  async #create({ id, params }: Extract<Command, { name: 'instance.create' }>, { signal }: CommandContext) {
    const { instances, journal } = this.#host;
    const { spec } = params;
    const key = instanceKey(spec);
    const there = instances.get(key);
    if (there !== undefined && there.id !== spec.id)
      throw failed(`Instance "${spec.name}" already exists on this host`);
    signal.throwIfAborted();
    journal.instances.put({ spec, pool: params.pool.name, power: params.start ? 'RUNNING' : 'STOPPED' });
    if (there === undefined) {
      instances.set(key, { id: spec.id, status: 'Stopped' });
      this.#changed(id, 1);
    }
    await this.#steps.gate(this);
    if (signal.aborted) {
      instances.delete(key);
      journal.instances.delete(spec);
      this.#changed(id, -1);
      throw signal.reason;
    }
    instances.set(key, { id: spec.id, status: params.start ? 'Running' : 'Stopped' });
    await this.#steps.gate(this);
    return { report: this.#report(spec), volatile: {} };
  }

  async #delete({ id, params }: Extract<Command, { name: 'instance.delete' }>) {
    const { instances, journal } = this.#host;
    const key = instanceKey(params.ref);
    if (params.id === undefined || instances.get(key)?.id === params.id) {
      if (instances.delete(key)) this.#changed(id, 1);
      journal.instances.delete(params.ref);
    }
    await this.#steps.gate(this);
    return {};
  }

  async #change({ id, params }: Extract<Command, { name: 'instance.state' }>, { marks }: CommandContext) {
    const { spec, action } = params;
    const instance = this.#host.instances.get(instanceKey(spec));
    if (instance === undefined) throw notFound('Instance');
    const wanted = action === 'stop' ? 'Stopped' : 'Running';
    // A restart cannot be seen afterwards.
    if (action === 'restart' ? !marks.has('restarted') : instance.status !== wanted) {
      instance.status = wanted;
      this.#changed(id, 1);
    }
    marks.add('restarted');
    await this.#steps.gate(this);
    return { report: this.#report(spec), volatile: {} };
  }

  #report({ project, name }: InstanceRef): InstanceReport {
    const status = this.#host.instances.get(instanceKey({ project, name }))?.status ?? 'Stopped';
    return { project, name, status, state: null };
  }
}
