/** Image archives on this host: fetched once, verified, unpacked with nothing hostile left in. */
import type { CommandResult, ImageSource } from '#protocol/commands.ts';

export type FetchProgress = (part: string, percent: number, bytesPerSecond: number) => void;

/** Where blobs come from: the control plane's `/agent/images/<fingerprint>/<part>`. */
export type FetchPart = (
  fingerprint: string,
  part: string,
  signal?: AbortSignal,
) => Promise<ReadableStream<Uint8Array>>;

export interface ImageStore {
  /**
   * Downloads all parts once, also under parallel calls, and verifies SHA-256 over all of them in order against the
   * fingerprint. Throws `bad_request` on a mismatch and keeps nothing.
   */
  ensure(image: ImageSource, options?: { progress?: FetchProgress; signal?: AbortSignal }): Promise<void>;
  /** metadata.yaml, read through a regular-file check and a size limit. */
  inspect(image: ImageSource): Promise<CommandResult<'image.inspect'>>;
  /**
   * Unpacks into an empty directory: `rootfs/`, `metadata.yaml`, `templates/`. Refuses entries with `..`, absolute or
   * escaping names; leaves out device nodes.
   */
  unpack(image: ImageSource, directory: string): Promise<void>;
  /** Drops the downloaded archive. */
  forget(fingerprint: string): Promise<void>;
}
