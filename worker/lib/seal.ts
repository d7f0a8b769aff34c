/**
 * Secrets that must be had in clear again (an HMAC needs its key), encrypted for storage: AES-256-GCM with a key derived from
 * the signing secret. Each text is bound to what it belongs to, so that a row's secret is of no use in another row. Losing
 * the signing secret loses them.
 */

interface SigningEnv {
  SIGNING_SECRET: string;
}

export interface Sealer {
  /** `about` names what the text belongs to, and must be given again to open it. */
  seal(text: string, about: string): Promise<string>;
  /** Throws for what was sealed with another key or about something else. */
  open(sealed: string, about: string): Promise<string>;
}

/** The derivation's label: another label, another key. */
const INFO = new TextEncoder().encode('longshore sealed secrets v1');
/** GCM's. Random ones are safe for 2^32 texts of one key. */
const NONCE_BYTES = 12;

const toBase64 = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
const fromBase64 = (text: string) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

async function deriveKey(env: SigningEnv): Promise<CryptoKey> {
  const secret = fromBase64(env.SIGNING_SECRET);
  if (secret.length < 32) throw new Error('SIGNING_SECRET must be at least 32 bytes in base64');
  const root = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveKey']);
  const how = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(32), info: INFO };
  return crypto.subtle.deriveKey(how, root, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
}

/** Derives its key at the first use. */
export function createSealer(env: SigningEnv): Sealer {
  let key: Promise<CryptoKey> | undefined;
  const getKey = () => {
    key ??= deriveKey(env);
    return key;
  };
  const algorithm = (iv: Uint8Array<ArrayBuffer>, about: string) => ({
    name: 'AES-GCM',
    iv,
    additionalData: new TextEncoder().encode(about),
  });
  return {
    async seal(text, about) {
      const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
      const sealed = await crypto.subtle.encrypt(algorithm(iv, about), await getKey(), new TextEncoder().encode(text));
      return `v1.${toBase64(iv)}.${toBase64(new Uint8Array(sealed))}`;
    },
    async open(sealed, about) {
      const [version, iv, data] = sealed.split('.');
      if (version !== 'v1' || iv === undefined || data === undefined) throw new Error('Unreadable sealed text');
      const clear = await crypto.subtle.decrypt(algorithm(fromBase64(iv), about), await getKey(), fromBase64(data));
      return new TextDecoder().decode(clear);
    },
  };
}
