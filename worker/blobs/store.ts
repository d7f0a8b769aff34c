/** Where image content lies: R2 on Cloudflare, workerd's disk service when self-hosted. Keys are ours: `[a-z0-9/.-]`. */
export interface BlobStore {
  /** Streams to a key; memory stays flat whatever the size. The body's length need not be known. */
  put(key: string, body: ReadableStream<Uint8Array>): Promise<void>;
  /** Null when there is none. */
  get(key: string): Promise<{ body: ReadableStream<Uint8Array>; sizeBytes: number } | null>;
  /** Absent is fine. */
  delete(key: string): Promise<void>;
}
