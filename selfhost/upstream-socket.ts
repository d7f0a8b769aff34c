/**
 * A connection to a server that may answer before it has read the whole request, and hang up on the rest. Node gives up a
 * socket at the first failed write, and with it the answer that waits in the kernel; here such writes vanish instead, and
 * the reading side says how it ended: with the answer, or with the end of the stream.
 */
import net from 'node:net';

type Done = (error?: Error | null) => void;

function forgiving(done: Done): Done {
  return (error) => done(error && 'code' in error && error.code === 'EPIPE' ? null : error);
}

class UpstreamSocket extends net.Socket {
  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super._write(chunk, encoding, forgiving(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super._writev?.(chunks, forgiving(done));
  }
}

/** Connects to a unix socket; errors of connecting come as the event `error`. */
export function connectUpstream(path: string): net.Socket {
  return new UpstreamSocket().connect({ path });
}
