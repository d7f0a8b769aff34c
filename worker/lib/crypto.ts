/** Secrets: made here, stored only as hashes, compared in constant time. Web Crypto only, so it runs in Node and workerd. */

/** Below what a Worker's CPU budget notices, far above what guessing a join password online could use. */
const PASSWORD_ITERATIONS = 100_000;

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const fromHex = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16));

/** 256 random bits as 64 hex digits: the form of LXD's token and websocket secrets. */
export const newSecret = (): string => toHex(crypto.getRandomValues(new Uint8Array(32)));

/** SHA-256 as lower-case hex. Enough for stored secrets because they carry 256 random bits; passwords use `hashPassword`. */
export async function sha256Hex(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
}

/** Compares without telling by its duration where two strings differ. */
export function timingSafeEqual(a: string, b: string): boolean {
  const left = new TextEncoder().encode(a);
  const right = new TextEncoder().encode(b);
  let difference = left.length ^ right.length;
  for (let i = 0; i < left.length; i += 1) difference |= (left[i] ?? 0) ^ (right[i] ?? 0);
  return difference === 0;
}

async function derive(password: string, salt: Uint8Array<ArrayBuffer>, iterations: number): Promise<string> {
  const key = await crypto.subtle.importKey('raw', new TextEncoder().encode(password), 'PBKDF2', false, ['deriveBits']);
  const bits = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt, iterations }, key, 256);
  return toHex(new Uint8Array(bits));
}

/** A salted hash for storage: `pbkdf2-sha256$<iterations>$<salt>$<hash>`. */
export async function hashPassword(password: string): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  return `pbkdf2-sha256$${PASSWORD_ITERATIONS}$${toHex(salt)}$${await derive(password, salt, PASSWORD_ITERATIONS)}`;
}

/** A stored hash that no password has. Verifying against it takes as long as against a real one. */
export const NO_PASSWORD = `pbkdf2-sha256$${PASSWORD_ITERATIONS}$${'00'.repeat(16)}$${'0'.repeat(64)}`;

/** True when `password` is the one that `stored` was made from; false for anything it cannot read. */
export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const match = /^pbkdf2-sha256\$(\d{1,7})\$((?:[0-9a-f]{2})+)\$([0-9a-f]{64})$/.exec(stored);
  const [, iterations, salt, hash] = match ?? [];
  if (iterations === undefined || salt === undefined || hash === undefined) return false;
  return timingSafeEqual(await derive(password, fromHex(salt), Number(iterations)), hash);
}
