/** Local TCP ports. */
import net from 'node:net';

/** A port of 127.0.0.1 that nothing listens on at this moment. */
export async function findFreePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port');
  return address.port;
}

export interface Endpoint {
  host: string;
  port: number;
}

/** Parses `host:port`, `[v6]:port` or a bare host (port 8443, LXD's own). Throws on anything else. */
export function parseEndpoint(text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? '8443');
  if (host === undefined || port > 65_535) throw new Error(`Not an address: "${text}" (wanted: host:port)`);
  return { host, port };
}

/** `host:port`, with brackets around an IPv6 address. */
export const formatEndpoint = ({ host, port }: Endpoint): string =>
  net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
