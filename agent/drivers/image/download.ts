/** Fetches the parts of an image into a directory and proves that they are the image. */
import { createHash, type Hash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ImageSource } from '#protocol/commands.ts';
import { AppError, badRequest, cancelled, unavailable } from '#protocol/errors.ts';
import type { FetchPart, FetchProgress } from './driver.ts';

type Part = ImageSource['parts'][number];

/** Clients redraw a line of text; five times a second looks smooth. */
const PROGRESS_INTERVAL_MS = 200;

interface Download {
  fetchPart: FetchPart;
  progress: FetchProgress;
  signal: AbortSignal;
}

/** Passes a part's bytes on, hashed and counted; more than announced is an error before the disk is full of it. */
async function* measured(
  source: AsyncIterable<Uint8Array>,
  part: Part,
  hash: Hash,
  progress: FetchProgress,
): AsyncGenerator<Uint8Array> {
  const startedMs = performance.now();
  let reportedMs = startedMs;
  let received = 0;
  const report = (percent: number, nowMs: number) =>
    progress(part.name, percent, Math.round(received / Math.max((nowMs - startedMs) / 1000, 0.001)));

  for await (const chunk of source) {
    received += chunk.length;
    if (received > part.sizeBytes) throw badRequest(`Image part "${part.name}" is larger than announced`);
    hash.update(chunk);
    const nowMs = performance.now();
    if (nowMs - reportedMs >= PROGRESS_INTERVAL_MS && received < part.sizeBytes) {
      reportedMs = nowMs;
      report(Math.floor((100 * received) / part.sizeBytes), nowMs);
    }
    yield chunk;
  }
  if (received !== part.sizeBytes) throw unavailable(`Image part "${part.name}" ended early`);
  report(100, performance.now());
}

/**
 * Writes every part as `<directory>/<name>`. The SHA-256 over all of them in order must be the fingerprint, else
 * `bad_request`; a download that breaks off is `unavailable`, an aborted one `cancelled`. What is there then is the caller's
 * to remove.
 */
export async function downloadParts(download: Download, image: ImageSource, directory: string): Promise<void> {
  const hash = createHash('sha256');
  try {
    for (const part of image.parts) {
      const stream = await download.fetchPart(image.fingerprint, part.name, download.signal);
      // An async generator over a web stream cancels it when it is left early.
      await pipeline(
        Readable.from(measured(stream, part, hash, download.progress), { objectMode: false }),
        createWriteStream(join(directory, part.name), { mode: 0o600 }),
        { signal: download.signal },
      );
    }
  } catch (error) {
    if (download.signal.aborted) throw cancelled();
    if (error instanceof AppError) throw error;
    const local = error instanceof Error && 'syscall' in error;
    throw local ? error : unavailable(`Failed downloading image ${image.fingerprint.slice(0, 12)}`, error);
  }
  if (hash.digest('hex') !== image.fingerprint) {
    throw badRequest(`Image fingerprint mismatch: the archive is not ${image.fingerprint}`);
  }
}
