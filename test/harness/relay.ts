/** A TCP relay that can fall silent: what a half-open connection is to both ends. */
import net from 'node:net';

/** A cable that can be dead while both ends believe in it. */
export interface Relay {
  port: number;
  /** When bytes of the member last went through; ms of `performance.now`. */
  lastPassedMs(): number;
  silence(on: boolean): void;
  close(): void;
}

/** Passes bytes on to a port of this machine, or swallows them while every connection stays open. */
export async function startRelay(target: number): Promise<Relay> {
  let silent = false;
  let lastPassedMs = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => {
        if (silent) return;
        if (from === near) lastPassedMs = performance.now();
        to.write(chunk);
      });
      from.on('error', () => {});
      from.on('close', () => {
        // A close that nobody hears of, while the line is dead.
        if (!silent) to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve());
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The relay does not listen');
  return {
    port: address.port,
    lastPassedMs: () => lastPassedMs,
    silence: (on) => {
      silent = on;
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
