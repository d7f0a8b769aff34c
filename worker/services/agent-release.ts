/**
 * The release of the agent that this control plane offers, and giving it to a member. It lies in the BlobStore: the
 * self-hosted control plane puts it there at each start, on Cloudflare it is uploaded with the deployment.
 */
import { z } from 'zod';
import { AgentRelease } from '#protocol/commands.ts';
import { AppError, failed, notFound, unavailable } from '#protocol/errors.ts';
import { UPGRADE_PROTOCOL } from '#protocol/version.ts';
import { isBlocked, upgradeAdvice } from '#worker/domain/member.ts';
import { getMember } from '#worker/state/members.ts';
import type { Authorized, Context } from './context.ts';
import { type ApiOperation, startOperation } from './operations.ts';

/** What `selfhost/agent-release.ts` writes. */
const Manifest = AgentRelease.extend({ protocol: z.number().int() });

const MANIFEST_KEY = 'agent/release.json';
const contentKey = (sha256: string) => `agent/${sha256}.mjs`;

async function readManifest(ctx: Context): Promise<AgentRelease> {
  const blob = await ctx.blobs.get(MANIFEST_KEY);
  if (blob === null) throw failed('This control plane has no release of the agent to offer');
  const manifest = Manifest.safeParse(await new Response(blob.body).json());
  if (!manifest.success) throw new AppError('internal', 'Unreadable release manifest', { cause: manifest.error });
  const { version, sha256, sizeBytes } = manifest.data;
  return { version, sha256, sizeBytes };
}

/** The content of a release. Throws `not_found` for one that is not offered (any more). */
export async function openRelease(ctx: Context, sha256: string) {
  const blob = /^[0-9a-f]{64}$/.test(sha256) ? await ctx.blobs.get(contentKey(sha256)) : null;
  if (blob === null) throw notFound('Release');
  return blob;
}

/**
 * Starts the upgrade of one member's agent; its instances do not notice. Throws when the member is away, or has an agent too
 * old to upgrade itself; then nothing was started.
 */
export async function upgradeMember(ctx: Authorized, name: string): Promise<ApiOperation> {
  const [member, release] = await Promise.all([getMember(ctx.db, name), readManifest(ctx)]);
  if (!member.online && !isBlocked(member)) throw unavailable(`Cluster member "${name}" is offline`);
  if (member.protocol < UPGRADE_PROTOCOL) {
    const advice = upgradeAdvice(name, member.protocol);
    throw failed(`The agent of cluster member "${name}" is too old to upgrade itself: ${advice}`);
  }
  return startOperation(ctx, {
    operation: {
      project: 'default',
      class: 'task',
      description: 'Upgrading agent',
      resources: null,
      mayCancel: false,
      location: name,
    },
    commands: [{ member: name, name: 'agent.upgrade', params: release }],
  });
}
