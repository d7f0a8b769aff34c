/**
 * What can happen next. Everything of the two ends that takes time waits here until the schedule picks it; what belongs to an
 * end that was killed never happens.
 */
export interface Step {
  owner: object;
  run(): void;
  /** It goes wrong; `late`: after it was done. Absent: it cannot. */
  fail?(late: boolean): void;
}

export class Steps {
  #pending: Step[] = [];
  readonly #dead = new WeakSet<object>();

  get count(): number {
    return this.#pending.length;
  }

  isDead(owner: object): boolean {
    return this.#dead.has(owner);
  }

  add(step: Step): void {
    if (!this.isDead(step.owner)) this.#pending.push(step);
  }

  /** Resolves when the schedule says so; never for an end that is dead. */
  gate(owner: object): Promise<void> {
    return new Promise((resolve) => this.add({ owner, run: resolve }));
  }

  /** Does one of them: `pick` counts around. */
  take(pick: number): void {
    const [step] = this.#pending.splice(pick % Math.max(1, this.#pending.length), 1);
    step?.run();
  }

  /** Lets one go wrong that can. */
  fail(pick: number, late: boolean): void {
    const able = this.#pending.filter((step) => step.fail !== undefined);
    const step = able[pick % Math.max(1, able.length)];
    if (step === undefined) return;
    this.#pending = this.#pending.filter((other) => other !== step);
    step.fail?.(late);
  }

  kill(owner: object): void {
    this.#dead.add(owner);
    this.#pending = this.#pending.filter((step) => step.owner !== owner);
  }
}
