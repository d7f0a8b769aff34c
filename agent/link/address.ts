/** Addresses of the control plane as people and tokens write them. */
import { isIP } from 'node:net';

export interface ServerAddress {
  host: string;
  port: number;
  secure: boolean;
  /** For the `Host` header. */
  authority: string;
}

const LXD_PORT = 8443;

/**
 * Reads `host`, `host:port`, `[v6]:port`, `https://…`; without a scheme the port is LXD's 8443. Plain `http://` is taken on
 * loopback only, since a session would cross the network in clear. Throws an `Error` that names the address.
 */
export function parseServerAddress(text: string): ServerAddress {
  const hasScheme = /^https?:\/\//.test(text);
  const bareV6 = isIP(text) === 6;
  const url = tryUrl(hasScheme ? text : `https://${bareV6 ? `[${text}]` : text}`);
  if (url === null || url.username !== '' || url.hostname === '') throw new Error(`Invalid server address "${text}"`);
  const secure = url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (!secure && !isLoopback(host)) throw new Error(`Server address "${text}" must use https`);
  const schemePort = secure ? 443 : 80;
  // The URL parser drops the scheme's own port: `host:443` written without a scheme means 443, not the default.
  const explicit443 = !hasScheme && /:443$/.test(text) && !bareV6;
  const fallback = hasScheme || explicit443 ? schemePort : LXD_PORT;
  const port = url.port === '' ? fallback : Number(url.port);
  return { host, port, secure, authority: port === schemePort ? url.hostname : `${url.hostname}:${port}` };
}

function tryUrl(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || /^127\./.test(host);
