/**
 * A wire between an agent and its control plane, in memory. Each end is what the real code holds: a socket of the `ws` package
 * here, one of the runtime there. A connection keeps its order; old ones may still bring frames when there is a new one.
 */
import { EventEmitter } from 'node:events';
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from '#protocol/frames.ts';

type Item = { text: string } | { close: true };

/** What takes a dialled connection: the control plane that lives, null when none does. */
export interface Acceptor {
  accept(url: string): Promise<ControlSocket>;
  message(socket: ControlSocket, text: string): void;
  closed(socket: ControlSocket): void;
}

/** The agent's end, in place of the `ws` package's class. */
export class AgentSocket extends EventEmitter {
  static readonly OPEN = 1;
  readyState = 0;
  readonly cable: Cable;

  constructor(url: string) {
    super();
    this.cable = Wire.current.dial(this, url);
  }

  send(text: string): void {
    this.cable.put('up', { text });
  }

  close(): void {
    this.terminate();
  }

  terminate(): void {
    if (this.readyState === 3) return;
    this.cable.put('up', { close: true });
    this.end();
  }

  /** The connection is over for this end. */
  end(): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    queueMicrotask(() => this.emit('close'));
  }
}

/** The runtime's end. */
export class ControlSocket {
  readyState = 1;
  seenMs: number | null = null;
  tags: string[] = [];
  cable: Cable | null = null;
  #attachment: unknown = null;
  /** Sent before the agent's end was there. */
  readonly early: string[] = [];

  send(text: string): void {
    if (this.readyState !== 1) throw new TypeError('The socket is closed');
    if (this.cable === null) this.early.push(text);
    else this.cable.put('down', { text });
  }

  close(): void {
    if (this.readyState !== 1) return;
    this.readyState = 2;
    this.cable?.put('down', { close: true });
  }

  serializeAttachment(value: unknown): void {
    this.#attachment = structuredClone(value);
  }

  deserializeAttachment(): unknown {
    return structuredClone(this.#attachment);
  }
}

/** One connection, with what is on its way. */
export class Cable {
  readonly agent: AgentSocket;
  readonly url: string;
  control: ControlSocket | null = null;
  acceptor: Acceptor | null = null;
  readonly queues: Record<'up' | 'down', Item[]> = { up: [], down: [] };
  /** Frames of before, which may come again. */
  readonly passed: Record<'up' | 'down', string[]> = { up: [], down: [] };
  isSilent = false;
  isDialled = false;

  constructor(agent: AgentSocket, url: string) {
    this.agent = agent;
    this.url = url;
  }

  put(way: 'up' | 'down', item: Item): void {
    if (!this.isSilent) this.queues[way].push(item);
  }

  deliver(way: 'up' | 'down'): void {
    const item = this.queues[way].shift();
    if (item === undefined) return;
    if ('text' in item) this.passed[way].push(item.text);
    if (way === 'up') this.#arrive(item);
    else if ('close' in item) {
      this.put('up', { close: true });
      this.agent.end();
    } else if (this.agent.readyState === 1) this.agent.emit('message', Buffer.from(item.text), false);
  }

  #arrive(item: Item): void {
    const { control, acceptor } = this;
    if (control === null || acceptor === null) return;
    if ('close' in item) {
      control.readyState = 3;
      acceptor.closed(control);
    } else if (item.text === HEARTBEAT_REQUEST) {
      control.seenMs = Date.now();
      this.put('down', { text: HEARTBEAT_RESPONSE });
    } else acceptor.message(control, item.text);
  }
}

/** What may come twice at any time; everything else says what is now, and TLS keeps it from being said again. */
const REPEATABLE = /^\{"type":"(command|cancel|ack|result|result-ack)"/;

export class Wire {
  /** The one that sockets dial: schedules run one after the other. */
  static current: Wire;
  readonly cables = new Set<Cable>();
  acceptor: Acceptor | null = null;

  dial(agent: AgentSocket, url: string): Cable {
    const cable = new Cable(agent, url);
    this.cables.add(cable);
    return cable;
  }

  /** Connects what was dialled, or refuses it. */
  async connect(cable: Cable): Promise<void> {
    cable.isDialled = true;
    const { acceptor } = this;
    const control = acceptor === null ? null : await acceptor.accept(cable.url);
    if (control === null || cable.agent.readyState !== 0) return cable.agent.end();
    cable.acceptor = acceptor;
    cable.control = control;
    control.cable = cable;
    for (const text of control.early) cable.put('down', { text });
    cable.agent.readyState = 1;
    cable.agent.emit('open');
  }

  /** What could be done next, in an order that depends on nothing but the schedule. */
  moves(): (() => void)[] {
    return [...this.cables].flatMap((cable) => {
      if (cable.agent.readyState === 0 && !cable.isDialled) return [() => void this.connect(cable)];
      const ways = (['up', 'down'] as const).filter((way) => cable.queues[way].length > 0);
      if (ways.length === 0 && cable.agent.readyState === 3) this.cables.delete(cable);
      return ways.map((way) => () => cable.deliver(way));
    });
  }

  /**
   * Cuts every connection. `lost`: with what is on its way, both ends hear of it. `late`: the agent hears of it now, the control
   * plane when it has got what was on its way. `silent`: nobody hears of it.
   */
  cut(how: 'lost' | 'late' | 'silent'): void {
    for (const cable of this.cables) {
      if (cable.control === null) continue;
      if (how === 'silent') {
        cable.isSilent = true;
        cable.queues.up.length = 0;
        cable.queues.down.length = 0;
        continue;
      }
      if (how === 'lost') cable.queues.up.length = 0;
      cable.queues.down.length = 0;
      cable.agent.terminate();
    }
  }

  /** A frame that passed comes once more, on a connection that stands. */
  repeat(pick: number): void {
    for (const { agent, passed, queues } of this.cables) {
      if (agent.readyState !== 1) continue;
      const frames = (['up', 'down'] as const).flatMap((way) =>
        passed[way].filter((text) => REPEATABLE.test(text)).map((text) => ({ way, text })),
      );
      const frame = frames[pick % Math.max(1, frames.length)];
      if (frame !== undefined) queues[frame.way].push({ text: frame.text });
    }
  }
}
