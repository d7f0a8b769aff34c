/** Both ends, the wire between them, and what is known of them from outside; moved by a schedule, judged at its end. */
import type { KeyObject } from 'node:crypto';
import type { Client } from '@libsql/client';
import { vi } from 'vitest';
import { openSqliteJournal } from '#agent/journal/sqlite.ts';
import { InstanceStatePut, InstancesPost } from '#protocol/api/instance.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { changeState, deleteInstance } from '#worker/services/instance-state.ts';
import { cancelOperation } from '#worker/services/operations.ts';
import { Control } from './control.ts';
import { Agent, type Host } from './host.ts';
import { Steps } from './steps.ts';
import { Wire } from './wire.ts';

export type Request = 'create' | 'launch' | 'start' | 'stop' | 'restart' | 'delete' | 'cancel';
export type Move =
  | { do: 'step'; pick: number }
  | { do: 'request'; kind: Request; pick: number }
  | { do: 'cut'; how: 'lost' | 'late' | 'silent' }
  | { do: 'repeat'; pick: number }
  | { do: 'fail'; pick: number; late: boolean }
  | { do: 'kill'; who: 'agent' | 'control' }
  | { do: 'wait'; ms: number };

export interface WorldDeps {
  client: Client;
  identity: KeyObject;
  /** Resolves when nothing goes on that is not waiting for its step or for the clock. */
  settle(): Promise<void>;
}

/** Operations from this status on have ended. */
const FINAL = 200;
const NAMES = ['c1', 'c2', 'c3'];
/** Of the healed world: what has not ended by then never does. */
const LIMIT = 2_000;

export class World {
  readonly #deps: WorldDeps;
  readonly #steps = new Steps();
  readonly #wire = new Wire();
  readonly #published: ClusterEvent[] = [];
  readonly #ends = new Map<string, number>();
  readonly #promised: string[] = [];
  readonly #host: Host = {
    journal: openSqliteJournal(':memory:'),
    ...{ instances: new Map(), epoch: 0, effects: new Map(), ended: new Set(), wrongs: [] },
  };
  #control: Control | null = null;
  #agent: Agent | null = null;

  constructor(deps: WorldDeps) {
    this.#deps = deps;
    Wire.current = this.#wire;
    this.#boot();
  }

  /** Starts whichever end does not run. */
  #boot(): void {
    const [steps, wire, host] = [this.#steps, this.#wire, this.#host];
    const { client, identity } = this.#deps;
    this.#control ??= new Control({ steps, wire, client, published: this.#published, onDatabase: () => this.#look() });
    this.#agent ??= new Agent({ steps, host, identity });
  }

  async #read(sql: string): Promise<Record<string, unknown>[]> {
    return (await this.#deps.client.execute(sql)).rows.map((row) => ({ ...row }));
  }

  /** An operation that has ended has ended. */
  async #look(): Promise<void> {
    for (const { id, status } of await this.#read('select id, status from operations')) {
      const before = this.#ends.get(String(id));
      if (before !== undefined && before !== status) {
        this.#host.wrongs.push(`operation ${id} went from ${before} to ${status}`);
      }
      if (Number(status) >= FINAL) this.#ends.set(String(id), Number(status));
    }
  }

  async play(move: Move): Promise<void> {
    switch (move.do) {
      case 'step':
        await this.#step(move.pick);
        break;
      case 'request':
        this.#request(move.kind, move.pick);
        break;
      case 'cut':
        this.#wire.cut(move.how);
        break;
      case 'repeat':
        this.#wire.repeat(move.pick);
        break;
      case 'fail':
        this.#steps.fail(move.pick, move.late);
        break;
      case 'kill':
        this.#kill(move.who);
        break;
      case 'wait':
        await this.#wait(move.ms);
        break;
    }
    await this.#deps.settle();
  }

  /** What is on the wire, what waits within an end, an end that is to be started; time passes when there is none. */
  async #step(pick: number): Promise<void> {
    const moves = this.#wire.moves();
    const isDown = this.#control === null || this.#agent === null;
    const count = moves.length + this.#steps.count + (isDown ? 1 : 0);
    if (count === 0) return await this.#wait(300);
    const at = pick % count;
    if (at < moves.length) moves[at]?.();
    else if (at < moves.length + this.#steps.count) this.#steps.take(at - moves.length);
    else this.#boot();
  }

  async #wait(ms: number): Promise<void> {
    vi.advanceTimersByTime(ms);
    await this.#deps.settle();
    this.#control?.look();
  }

  #kill(who: 'agent' | 'control'): void {
    if (who === 'agent') {
      this.#agent?.kill(this.#wire);
      this.#agent = null;
    } else {
      this.#control?.kill();
      this.#control = null;
    }
  }

  /** Asks for something, as the routes would. Who gets no answer was promised nothing. */
  #request(kind: Request, pick: number): void {
    const ctx = this.#control?.ctx;
    if (ctx === undefined) return;
    const name = NAMES[pick % NAMES.length] ?? '';
    const ask = async (): Promise<{ id: string } | undefined> => {
      if (kind === 'delete') return await deleteInstance(ctx, 'default', name);
      if (kind === 'cancel') {
        const id = this.#promised[pick % Math.max(1, this.#promised.length)];
        return id === undefined ? undefined : void (await cancelOperation(ctx, id));
      }
      if (kind === 'create' || kind === 'launch') {
        const body = InstancesPost.parse({ name, source: { type: 'none' }, start: kind === 'launch' });
        return await createInstance(ctx, { project: 'default', target: null, body });
      }
      return await changeState(ctx, 'default', name, InstanceStatePut.parse({ action: kind, force: true }));
    };
    void ask().then(
      (operation) => operation && void this.#promised.push(operation.id),
      () => {},
    );
  }

  /** No more faults: runs until both ends have nothing left to do. */
  async heal(): Promise<void> {
    for (let turn = 0; turn < LIMIT; turn++) {
      const isQuiet =
        this.#wire.moves().length + this.#steps.count === 0 && this.#control !== null && this.#agent !== null;
      if (isQuiet && (await this.#isDone())) return;
      await this.play({ do: 'step', pick: 0 });
    }
  }

  async #isDone(): Promise<boolean> {
    const { journal } = this.#host;
    if (journal.listUnfinished().length + journal.listUnacknowledged().length > 0) return false;
    const [open] = await this.#read(`select (select count(*) from operations where status < ${FINAL})
      + (select count(*) from commands where status = 'waiting') + (select count(*) from members where online = 0) as count`);
    return open?.count === 0;
  }

  /** Everything that is not as was promised. Empty: all is well. */
  async judge(): Promise<string[]> {
    const wrongs = [...this.#host.wrongs];
    const operations = await this.#read('select id, status, description from operations');
    const commands = await this.#read('select id, name, status from commands');
    const rows = await this.#read('select id, name, status from instances');
    const created = await this.#read("select seq from events where metadata ->> '$.action' = 'instance-created'");
    const known = new Set(operations.map(({ id }) => id));
    for (const id of this.#promised) if (!known.has(id)) wrongs.push(`operation ${id} is lost`);
    for (const { id, status, description } of operations) {
      if (Number(status) < FINAL) wrongs.push(`operation ${id} (${description}) never ended`);
      const ends = this.#published.filter(({ type, metadata }) => {
        return type === 'operation' && metadata.id === id && Number(metadata.status_code) >= FINAL;
      });
      if (ends.length > 1) wrongs.push(`operation ${id} was said to end ${ends.length} times`);
    }
    for (const { id, name, status } of commands) {
      if (status === 'waiting') wrongs.push(`${name} ${id} was never answered`);
      const effect = this.#host.effects.get(String(id)) ?? 0;
      if (name === 'instance.create' && status === 'done' && effect !== 1)
        wrongs.push(`${id} was done ${effect} times`);
    }
    const done = commands.filter(({ name, status }) => name === 'instance.create' && status === 'done');
    // Of one that was deleted before it was made nothing is told.
    if (created.length > done.length) wrongs.push(`${done.length} were created, ${created.length} times it was told`);
    const promised = rows.map(({ id, name, status }) => `${name} ${id} ${status}`).sort();
    const there = [...this.#host.instances]
      .map(([key, { id, status }]) => `${key.split('/')[1]} ${id} ${status}`)
      .sort();
    if (promised.join() !== there.join()) wrongs.push(`promised: ${promised.join(', ')}; there: ${there.join(', ')}`);
    return wrongs;
  }

  /** Ends both, so that the next world begins with nothing of this one. */
  stop(): void {
    this.#kill('agent');
    this.#kill('control');
  }
}
