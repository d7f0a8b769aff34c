/** `GET /1.0/instances/<name>/placement`: why an instance is where it is, as it was decided at its launch. */
import { notFound } from '#protocol/errors.ts';
import type { Placement, PlacementRequest } from '#worker/objects/contract.ts';
import { findPlacement, type PlacementNote } from '#worker/state/placement.ts';
import type { Authorized } from './context.ts';
import { getInstance } from './instances.ts';

/** The best ones tell the story; a cluster may have hundreds of members. */
const SCORES_KEPT = 20;

/** What is kept of a decision. */
export const placementNote = (
  { instanceId, target }: Pick<PlacementRequest, 'instanceId' | 'target'>,
  { member, strategy, scores, rejections }: Placement,
  createdAt: string,
): PlacementNote => ({
  instanceId,
  member,
  target,
  strategy,
  scores: scores.slice(0, SCORES_KEPT),
  rejections,
  createdAt,
});

const partsToApi = ({ failureDomain, ...parts }: Record<string, number>) => ({
  ...parts,
  failure_domain: failureDomain ?? 0,
});

/** The decision, and where the instance is now. Throws `not_found` for an instance that was never placed. */
export async function getPlacement(ctx: Authorized, project: string, name: string) {
  const { row } = await getInstance(ctx, project, name);
  const note = await findPlacement(ctx.db, row.id);
  if (note === undefined) throw notFound('Instance placement');
  const { member, target, strategy, rejections } = note;
  return {
    instance: name,
    member,
    location: row.member,
    target: target ?? '',
    strategy,
    scores: note.scores.map(({ parts, ...score }) => ({ ...score, parts: partsToApi(parts) })),
    rejections,
    decided_at: note.createdAt,
  };
}
