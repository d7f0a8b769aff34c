/** The local sockets of a host that was removed: every request, whatever it asks, is told why. */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname } from 'node:path';

export interface RefusalServer {
  close(): Promise<void>;
}

/** Listens on the paths, which no other server uses any more. Anybody may read the message: there is nothing else to get. */
export async function startRefusalServer(paths: readonly string[], message: string): Promise<RefusalServer> {
  const body = JSON.stringify({
    type: 'error',
    status: '',
    status_code: 0,
    operation: '',
    error_code: 403,
    error: message,
    metadata: null,
  });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const servers: Server[] = [];
  for (const path of paths) {
    const server = createServer((_incoming, outgoing) => outgoing.writeHead(403, headers).end(body));
    await mkdir(dirname(path), { recursive: true, mode: 0o711 });
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    await chmod(path, 0o666);
    servers.push(server);
  }
  return {
    close: async () => {
      for (const server of servers) server.closeAllConnections();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      await Promise.all(paths.map((path) => rm(path, { force: true })));
    },
  };
}
