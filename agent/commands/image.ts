/** `image.inspect`, `image.delete`, and making an image ready in a pool. */
import type { CommandParams, CommandResult, ImageSource } from '#protocol/commands.ts';
import type { FetchProgress } from '../drivers/image/driver.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { CommandContext, Host } from './host.ts';

/** The image's volume is in the pool: fetched and unpacked once per host, also under parallel launches. */
export async function ensureImage(
  host: Host,
  context: CommandContext,
  storage: StorageDriver,
  image: ImageSource,
): Promise<void> {
  if (await storage.hasImage(image.fingerprint)) return;
  await context.unslotted(async () => {
    await host.images.ensure(image, { progress: downloadProgress(context), signal: context.signal });
    await storage.ensureImage(image.fingerprint, (directory) => host.images.unpack(image, directory));
  });
}

/** LXD's progress lines, at most one per percent. */
function downloadProgress(context: CommandContext): FetchProgress {
  let last = '';
  return (part, percent, bytesPerSecond) => {
    const line = `${part}: ${Math.floor(percent)}% (${(bytesPerSecond / 1e6).toFixed(2)}MB/s)`;
    if (line === last) return;
    last = line;
    context.progress({ download_progress: line });
  };
}

/** Reads the metadata of an uploaded image. */
export async function inspectImage(
  host: Host,
  context: CommandContext,
  { image }: CommandParams<'image.inspect'>,
): Promise<CommandResult<'image.inspect'>> {
  return context.unslotted(async () => {
    await host.images.ensure(image, { signal: context.signal });
    return host.images.inspect(image);
  });
}

/** Drops the image from every pool of this host, and its download. */
export async function deleteImage(
  host: Host,
  _context: CommandContext,
  { fingerprint }: CommandParams<'image.delete'>,
): Promise<CommandResult<'image.delete'>> {
  for (const pool of host.journal.pools.list()) {
    const storage = await host.pools.open(pool.name);
    await storage.deleteImage(fingerprint);
  }
  await host.images.forget(fingerprint);
  return {};
}
