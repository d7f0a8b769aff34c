/**
 * Names of instances for the DNS of every host. What may have changed is noted, gathered for a moment, read in one round trip
 * and told to all links; what was told last is not told again. Nothing is lost for good: a hello is answered with all names.
 */
import type { InstanceRef } from '#protocol/commands.ts';
import type { InstanceNames } from '#protocol/instance-names.ts';
import type { Logger } from '#worker/lib/log.ts';
import type { ClusterEvent } from './contract.ts';

/** A burst of launches makes a few frames, and a name is there before a person has typed it. */
const GATHER_MS = 200;
/** The database or a shard does not answer: noted names wait this long. */
const RETRY_MS = 2_000;
/** Some 200 bytes each: well below the limit of a frame. */
const NAMES_PER_FRAME = 1_000;
/** Names whose last telling is remembered; beyond that they are told once too often. */
const TOLD_LIMIT = 20_000;

const ABOUT_NAMES =
  /^instance-(created|started|stopped|shutdown|restarted|resumed|restored|updated|deleted|renamed|migrated)$/;

/** What may have another name or address now; a member stands for all its instances, `all` for everything. */
export interface NameNews {
  refs: InstanceRef[];
  members: string[];
  all: boolean;
}

/** The instances whose names these events may change. Pure. */
export function newsOf(events: readonly ClusterEvent[]): NameNews {
  const news: NameNews = { refs: [], members: [], all: false };
  for (const { type, project = 'default', metadata } of events) {
    const { action, source, context } = metadata;
    if (type !== 'lifecycle' || typeof action !== 'string' || typeof source !== 'string') continue;
    // With `--force` the instances go without a word of each.
    if (action === 'cluster-member-removed') news.all = true;
    if (!ABOUT_NAMES.test(action)) continue;
    const name = /^\/1\.0\/instances\/([^/?]+)/.exec(source)?.[1];
    if (name !== undefined) news.refs.push({ project, name: decodeURIComponent(name) });
    const old = typeof context === 'object' && context !== null && 'old_name' in context ? context.old_name : undefined;
    if (typeof old === 'string') news.refs.push({ project, name: old });
  }
  return news;
}

export type NamesFrame = { type: 'names'; full: boolean; instances: InstanceNames[] };

/** The names as frames for one link; with `full` the first one says that it begins anew. Pure. */
export function nameFrames(names: readonly InstanceNames[], full: boolean): NamesFrame[] {
  const frames: NamesFrame[] = full && names.length === 0 ? [{ type: 'names', full, instances: [] }] : [];
  for (let at = 0; at < names.length; at += NAMES_PER_FRAME) {
    frames.push({ type: 'names', full: full && at === 0, instances: names.slice(at, at + NAMES_PER_FRAME) });
  }
  return frames;
}

export interface NameFeedDeps {
  find(refs: InstanceRef[], members: string[]): Promise<InstanceNames[]>;
  list(): Promise<InstanceNames[]>;
  /** To every link there is. */
  tell(frames: NamesFrame[]): Promise<void>;
  log: Pick<Logger, 'warn'>;
}

interface Pending {
  refs: Map<string, InstanceRef>;
  members: Set<string>;
  all: boolean;
}

/** Answers `note`, which never throws and does not wait. */
export function createNameFeed({ find, list, tell, log }: NameFeedDeps): { note(news: NameNews): void } {
  const told = new Map<string, string>();
  const keyOf = ({ project, name }: InstanceRef) => `${project}/${name}`;
  let pending: Pending | null = null;
  let busy = false;
  const later = (ms: number) => {
    setTimeout(() => void flush(), ms);
  };

  const isNews = (name: InstanceNames) => {
    const text = JSON.stringify(name.addresses);
    if (told.get(keyOf(name)) === text) return false;
    if (told.size >= TOLD_LIMIT) told.clear();
    told.set(keyOf(name), text);
    return true;
  };
  const work = async (news: Pending) => {
    if (news.all) {
      told.clear();
      await tell(nameFrames(await list(), true));
      return;
    }
    const names = await find([...news.refs.values()], [...news.members]);
    const frames = nameFrames(names.filter(isNews), false);
    if (frames.length > 0) await tell(frames);
  };
  const flush = async () => {
    const news = pending;
    if (news === null) return;
    pending = null;
    busy = true;
    let failed = false;
    try {
      await work(news);
    } catch (error) {
      log.warn('names.waiting', {}, error);
      failed = true;
      told.clear();
      note({ refs: [...news.refs.values()], members: [...news.members], all: news.all });
    }
    busy = false;
    if (pending !== null) later(failed ? RETRY_MS : GATHER_MS);
  };
  const note = ({ refs, members, all }: NameNews) => {
    if (refs.length === 0 && members.length === 0 && !all) return;
    if (pending === null) {
      pending = { refs: new Map(), members: new Set(), all: false };
      if (!busy) later(GATHER_MS);
    }
    for (const ref of refs) pending.refs.set(keyOf(ref), { project: ref.project, name: ref.name });
    for (const member of members) pending.members.add(member);
    pending.all ||= all;
  };
  return { note };
}

export interface NameGreeter {
  /** Gives `send` all names, a moment later: members that come back together are answered by one read. */
  greet(send: (frame: NamesFrame) => void): void;
}

/** Tells newly connected members everything. A read that fails is made again: without it they keep what they had. */
export function createNameGreeter({ list, log }: Pick<NameFeedDeps, 'list' | 'log'>): NameGreeter {
  let waiting: ((frame: NamesFrame) => void)[] = [];
  const answer = async () => {
    const sends = waiting;
    try {
      const frames = nameFrames(await list(), true);
      waiting = waiting.filter((send) => !sends.includes(send));
      for (const send of sends) frames.forEach(send);
      if (waiting.length > 0) setTimeout(() => void answer(), GATHER_MS);
    } catch (error) {
      log.warn('names.waiting', {}, error);
      setTimeout(() => void answer(), RETRY_MS);
    }
  };
  return {
    greet: (send) => {
      waiting.push(send);
      if (waiting.length === 1) setTimeout(() => void answer(), GATHER_MS);
    },
  };
}
