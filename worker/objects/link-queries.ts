/** Questions on their way to members: each is answered once, or fails when its member goes or stays silent. */
import { toWireError, unavailable, type WireError } from '#protocol/errors.ts';

export type QueryAnswer = { ok: true; result: unknown } | { ok: false; error: WireError };

export interface Queries {
  /** Never rejects: errors do not keep their class across RPC. `send` is called with the question's id. */
  ask(member: string, timeoutMs: number, send: (id: string) => void): Promise<QueryAnswer>;
  /** Ignored unless this member was asked that. */
  answer(member: string, id: string, answer: QueryAnswer): void;
  /** Nobody is there to answer. */
  fail(member: string): void;
}

/** LXD has no text of its own for this; clients show ours. */
export const away = (member: string): WireError => toWireError(unavailable(`Cluster member "${member}" is offline`));

export function createQueries(): Queries {
  const open = new Map<string, { member: string; resolve: (answer: QueryAnswer) => void }>();
  return {
    ask: (member, timeoutMs, send) => {
      const id = crypto.randomUUID();
      return new Promise((resolve) => {
        const settle = (answer: QueryAnswer) => {
          clearTimeout(timer);
          open.delete(id);
          resolve(answer);
        };
        const timer = setTimeout(() => settle({ ok: false, error: away(member) }), timeoutMs);
        open.set(id, { member, resolve: settle });
        send(id);
      });
    },
    answer: (member, id, answer) => {
      const query = open.get(id);
      if (query?.member === member) query.resolve(answer);
    },
    fail: (member) => {
      for (const query of [...open.values()]) {
        if (query.member === member) query.resolve({ ok: false, error: away(member) });
      }
    },
  };
}
