/**
 * A moving instance inside a Stream object: the requests of the two agents meet here, in either order.
 *
 * Invariants. The content goes from body to body inside the runtime, with its back-pressure. What broke off first is told to
 * both sides. Nobody waits for a side that has given up: whether it still stands is looked up, so no event can be missed.
 */
import { AppError, badRequest, fromWireError, unavailable } from '#protocol/errors.ts';
import { FileOutcome, LAST_PART_HEADER } from '#protocol/stream.ts';
import type { MoveSide } from '#worker/state/instance-move.ts';

/** A side that goes may be about to tell why: one more request, perhaps with a handshake. */
const REASON_LIMIT_MS = 2_000;
const LOOK_MS = 5_000;

/** Answers null for a member that has no such command any more. */
export type FindSide = () => Promise<MoveSide | null>;

export interface RelayEnds {
  /** Breaks off every request of the object. */
  reset(): void;
  /** Asks the target to end its command: its own request may never tell it that nothing comes any more. */
  cancel(target: MoveSide): void;
}

export class Relay {
  readonly #ends: RelayEnds;
  readonly #abort = new AbortController();
  #failure: AppError | null = null;
  #writable: WritableStream<Uint8Array> | null = null;
  #target: MoveSide | null = null;
  #isSending = false;
  /** The target has all of it. */
  #isOver = false;
  #wake: () => void = () => {};
  #targetCame = new Promise<void>((resolve) => {
    this.#wake = resolve;
  });

  constructor(ends: RelayEnds) {
    this.#ends = ends;
  }

  /** One request of the member that `side` describes. Throws what ended the transfer. */
  async serve(request: Request, side: MoveSide, find: FindSide): Promise<Response> {
    if (this.#failure !== null) throw this.#failure;
    const what = new URL(request.url).pathname.split('/').at(-1);
    const asked = `${request.method} ${what}`;
    if (asked === 'POST outcome') await this.#giveUp(FileOutcome.parse(await request.json()));
    else if (asked === 'GET content' && side.role === 'target') return this.#giveContent(side, find);
    else if (asked === 'GET peer' && side.role === 'source') await this.#awaitTarget(side, find);
    else if (asked === 'PUT content' && side.role === 'source') await this.#takePart(request);
    else throw badRequest('This member has no such part in the transfer');
    return new Response(null, { status: 204 });
  }

  /** Ends the transfer for both sides. The first reason counts. */
  fail(error: AppError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#wake();
    this.#abort.abort(error);
    if (!this.#isSending) {
      this.#close();
      return;
    }
    // A part whose sender has gone may never settle, nor let go of the target's body. The target comes for the reason first.
    if (this.#target !== null) this.#ends.cancel(this.#target);
    setTimeout(() => this.#isSending && this.#ends.reset(), REASON_LIMIT_MS);
  }

  /** The content tells by itself that it is not whole; an error here would only be noise in the log. */
  #close(): void {
    this.#writable?.close().catch(() => {});
  }

  async #giveUp({ error }: FileOutcome): Promise<void> {
    if (error === null) throw badRequest('Nothing is wrong');
    this.fail(fromWireError(error));
  }

  #giveContent(side: MoveSide, find: FindSide): Response {
    if (this.#writable !== null) throw badRequest('The content was asked for already');
    const { readable, writable } = new IdentityTransformStream();
    this.#writable = writable;
    this.#target = side;
    this.#wake();
    void this.#watch(side, find);
    return new Response(readable);
  }

  async #awaitTarget(side: MoveSide, find: FindSide): Promise<void> {
    void this.#watch(side, find);
    await this.#targetCame;
    if (this.#failure !== null) throw this.#failure;
  }

  /** To the end: either side may go without ever coming here, or between two of its requests. */
  async #watch(first: MoveSide, find: FindSide): Promise<void> {
    let side: MoveSide | null = first;
    while (!this.#isOver && this.#failure === null) {
      if (side === null) return this.fail(unavailable('The transfer has ended'));
      if (!side.peerStands) return this.fail(unavailable(`Cluster member "${first.peer}" has given up`));
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      // A database that does not answer is no reason to give up.
      side = await find().catch(() => first);
    }
  }

  async #takePart(request: Request): Promise<void> {
    const writable = this.#writable;
    if (writable === null || this.#isSending) throw badRequest('A part comes after the one before it');
    this.#isSending = true;
    try {
      const options = { preventClose: true, preventAbort: true, signal: this.#abort.signal };
      await request.body?.pipeTo(writable, options);
      if (request.headers.has(LAST_PART_HEADER)) {
        await writable.close();
        this.#isOver = true;
      }
    } catch (error) {
      await Promise.race([aborted(this.#abort.signal), new Promise((done) => setTimeout(done, REASON_LIMIT_MS))]);
      this.fail(error instanceof AppError ? error : unavailable('The transfer broke off', error));
      throw this.#failure ?? error;
    } finally {
      this.#isSending = false;
      if (this.#failure !== null) this.#close();
    }
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
