/** Where the root volume of a new instance comes from. */
import type { CommandParams, InstanceSpec } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { CommandContext, Host } from './host.ts';
import { volumeName } from './instances.ts';

type Params = CommandParams<'instance.create'>;

/** The volume is whole: after a crash the rest can be done without what it was made from. */
const MARK_WHOLE = 'whole';

export const isCopy = ({ copyOf, streamId }: Params): boolean => copyOf !== undefined || streamId !== undefined;

/** Clones the image, copies another instance of this host or of another, or makes an empty volume; mounted. */
export async function makeVolume(
  host: Host,
  context: CommandContext,
  storage: StorageDriver,
  { spec, image, copyOf, streamId }: Params,
): Promise<string> {
  const volume = volumeName(spec);
  if (streamId !== undefined) {
    await receiveVolume(host, context, storage, { spec, streamId });
    return storage.mountInstanceVolume(volume);
  }
  if (copyOf === undefined) return storage.createInstanceVolume(volume, image?.fingerprint ?? null);
  if (context.marks.has(MARK_WHOLE)) return storage.mountInstanceVolume(volume);
  // Of an earlier attempt, which may be half of one.
  if (context.resumed) await storage.deleteInstanceVolume(volume);
  const path = await context.unslotted(() => storage.transfer.copy(volumeName(copyOf), volume));
  context.marks.add(MARK_WHOLE);
  return path;
}

/** Takes what another host sends. Throws after a crash of the agent, with which the stream has ended. */
export async function receiveVolume(
  host: Host,
  context: CommandContext,
  storage: StorageDriver,
  { spec, streamId }: { spec: InstanceSpec; streamId: string },
): Promise<void> {
  if (context.marks.has(MARK_WHOLE)) return;
  if (context.resumed) throw failed('The agent was restarted while it received the instance');
  const { signal } = context;
  await context.unslotted(async () => {
    const relay = host.openRelay(streamId);
    try {
      await storage.transfer.receive(volumeName(spec), await relay.receive(signal));
    } catch (error) {
      throw await relay.giveUp(signal.aborted ? signal.reason : error);
    }
  });
  context.marks.add(MARK_WHOLE);
}
