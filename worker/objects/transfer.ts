/**
 * One file transfer inside a Stream object: the client's request and the agent's meet here, in either order.
 *
 * Invariants. The content goes from body to body inside the runtime: no byte of it passes through this code, and the
 * runtime's own back-pressure bounds what is held. A put succeeds only when the client's body was read to its end and the
 * agent says that it is complete on the host; whichever fails first ends the transfer for both.
 */
import { AppError, badRequest, conflict, fromWireError, unavailable } from '#protocol/errors.ts';
import { FILE_HEAD_HEADER, FileHead, FileOutcome } from '#protocol/stream.ts';

/** The agent has everything and only has to write its last megabytes: silence for longer means that it is gone. */
const OUTCOME_LIMIT_MS = 60_000;
/** One more request of the agent's, perhaps with a handshake. */
const REASON_LIMIT_MS = 2_000;

type Bytes = ReadableStream<Uint8Array>;

/** The content of a get on its way: parts of the agent's follow each other into `writable`. */
interface Incoming {
  writable: WritableStream<Uint8Array>;
  leftBytes: number;
}

export class Transfer {
  readonly #fromClient = settleable<Bytes>();
  readonly #fromAgent = settleable<Response>();
  readonly #outcome = settleable<void>();
  readonly #abort = new AbortController();
  #incoming: Incoming | null = null;
  /** Settles when the client's body has been read to its end, or broke. Null: the agent has not asked for it. */
  #sent: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** The client's side. The answer to a get carries the content and its head; to a put it says that the file is complete. */
  async join(request: Request): Promise<Response> {
    if (request.method !== 'PUT') return this.#fromAgent.promise;
    this.#fromClient.resolve(request.body ?? new Blob([]).stream());
    await this.#outcome.promise;
    return new Response(null, { status: 204 });
  }

  /** The agent's side. Throws what ended the transfer. */
  async serveAgent(request: Request): Promise<Response> {
    if (request.method === 'PUT') await this.#takePart(request);
    else if (request.method === 'POST') await this.#finish(FileOutcome.parse(await request.json()));
    else return this.#giveContent();
    return new Response(null, { status: 204 });
  }

  /** Ends the transfer for both sides. The first reason counts. */
  fail(error: AppError): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const side of [this.#fromClient, this.#fromAgent, this.#outcome]) side.reject(error);
    this.#abort.abort(error);
  }

  async #takePart(request: Request): Promise<void> {
    const incoming = this.#incoming ?? this.#begin(request);
    const sizeBytes = Number(request.headers.get('content-length') ?? Number.NaN);
    if (!(sizeBytes <= incoming.leftBytes)) throw badRequest('A part must tell its size, and fit');
    try {
      const { signal } = this.#abort;
      await request.body?.pipeTo(incoming.writable, { preventClose: true, signal });
      incoming.leftBytes -= sizeBytes;
      if (incoming.leftBytes === 0) await incoming.writable.close();
    } catch (error) {
      const reason = error instanceof AppError ? error : gone(error);
      this.fail(reason);
      throw reason;
    }
  }

  #begin(request: Request): Incoming {
    const head = FileHead.parse(JSON.parse(request.headers.get(FILE_HEAD_HEADER) ?? 'null'));
    // Fewer bytes than promised break the client's download instead of ending it.
    const { readable, writable } = new FixedLengthStream(head.sizeBytes);
    this.#incoming = { writable, leftBytes: head.sizeBytes };
    this.#fromAgent.resolve(new Response(readable, { headers: { [FILE_HEAD_HEADER]: JSON.stringify(head) } }));
    return this.#incoming;
  }

  #giveContent(): Response {
    if (this.#sent !== null) throw badRequest('The content was asked for already');
    const { readable, writable } = new IdentityTransformStream();
    const { signal } = this.#abort;
    this.#sent = this.#fromClient.promise
      .then((body) => body.pipeTo(writable, { signal }))
      .then(
        () => {
          this.#timer = setTimeout(() => this.fail(gone()), OUTCOME_LIMIT_MS);
        },
        (error) => {
          // Either side may have gone; the agent may have gone for a reason that it is about to tell.
          this.#timer = setTimeout(() => this.fail(gone(error)), REASON_LIMIT_MS);
          throw gone(error);
        },
      );
    // Told at the outcome, or to nobody.
    this.#sent.catch(() => {});
    return new Response(readable);
  }

  async #finish({ error }: FileOutcome): Promise<void> {
    if (error !== null) return this.fail(fromWireError(error));
    if (this.#sent === null) throw badRequest('The content was not asked for');
    const isWhole = await this.#sent.then(
      () => !this.#abort.signal.aborted,
      () => false,
    );
    if (!isWhole) throw conflict('The content is not whole');
    this.#outcome.resolve();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}

const gone = (cause?: unknown) => unavailable('The transfer broke off', cause);

interface Settleable<T> {
  promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function settleable<T>(): Settleable<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Not every side waits for it.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
