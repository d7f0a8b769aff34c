/**
 * Public keys of a configured OIDC issuer, kept in memory. However many tokens come, good or made up, an isolate asks the
 * issuer only once in a while; an issuer that is away does no harm to those whose keys are known.
 */
import type { JSONWebKeySet } from 'jose';
import { z } from 'zod';

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.string() });
const KeySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) });

/** A key that was taken away is trusted so long. */
const FRESH_MS = 10 * 60_000;
/** Between two questions, whatever the first one brought: an unknown key may be one that is new, or made up. */
const PAUSE_MS = 30_000;
/** Requests cannot share an answer that is on its way: so many at once may ask while nothing is known. */
const AT_ONCE = 8;
/** Longer than both questions may take: who asked has gone, as requests do whose client hangs up. */
const GONE_MS = 15_000;
/** Without an answer from the issuer for so long, its keys do not count any more. */
const STALE_MS = 24 * 3_600_000;

export interface IssuerKeys {
  /**
   * Null when none could be had. With `missed`, a token named a key that is not among those last handed out.
   */
  get(issuer: string, missed: boolean): Promise<JSONWebKeySet | null>;
}

interface Known {
  keys: JSONWebKeySet | null;
  readMs: number;
  /** When an attempt last ended. */
  askedMs: number;
  /** When attempts began that have not ended. */
  asking: Set<{ sinceMs: number }>;
}

/** What is known of the issuer that was asked for last: the configuration names one at a time. */
export interface IssuerMemory {
  issuer: string;
  known: Known;
}

export const newIssuerMemory = (): IssuerMemory => ({ issuer: '', known: nothing() });

const nothing = (): Known => ({ keys: null, readMs: 0, askedMs: Number.NEGATIVE_INFINITY, asking: new Set() });

/** `memory` outlives the request; `read` gets JSON from a URL, `mayLead` says whether it may be asked for one. */
export function createIssuerKeys(deps: {
  memory: IssuerMemory;
  read: (url: string) => Promise<unknown>;
  mayLead: (url: string) => boolean;
  onFailure: (error: unknown) => void;
  nowMs?: () => number;
}): IssuerKeys {
  const { memory, nowMs = Date.now } = deps;
  return {
    async get(issuer, missed) {
      if (issuer !== memory.issuer) Object.assign(memory, { issuer, known: nothing() });
      const state = memory.known;
      const now = nowMs();
      const wanted = missed || state.keys === null || now - state.readMs > FRESH_MS;
      for (const attempt of state.asking) if (now - attempt.sinceMs > GONE_MS) state.asking.delete(attempt);
      const free = state.asking.size < (state.keys === null ? AT_ONCE : 1);
      if (wanted && free && now - state.askedMs > PAUSE_MS) {
        const attempt = { sinceMs: now };
        state.asking.add(attempt);
        try {
          state.keys = await readKeys(deps, issuer);
          state.readMs = nowMs();
        } catch (error) {
          deps.onFailure(error);
        } finally {
          state.asking.delete(attempt);
          state.askedMs = nowMs();
        }
      }
      return nowMs() - state.readMs > STALE_MS ? null : state.keys;
    },
  };
}

async function readKeys(
  { read, mayLead }: { read: (url: string) => Promise<unknown>; mayLead: (url: string) => boolean },
  issuer: string,
): Promise<JSONWebKeySet> {
  const follow = (url: string) => {
    if (!mayLead(url)) throw new Error(`An OIDC issuer may not lead to ${url}`);
    return read(url);
  };
  const discovery = Discovery.parse(await follow(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`));
  if (discovery.issuer !== issuer) throw new Error(`${issuer} calls itself ${discovery.issuer}`);
  return KeySet.parse(await follow(discovery.jwks_uri));
}
