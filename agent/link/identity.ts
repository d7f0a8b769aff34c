/** The member's Ed25519 key: proves who speaks, never leaves the host. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Reads the key; throws when it is missing or not Ed25519. */
export function readIdentity(keyFile: string): KeyObject {
  const key = createPrivateKey(readFileSync(keyFile));
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`${keyFile} is not an Ed25519 key`);
  return key;
}

/** A new key and its PKCS#8 PEM. */
export function createIdentity(): { key: KeyObject; pem: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  return { key: privateKey, pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** SPKI DER in base64, as the control plane stores it. */
export const publicKeyOf = (key: KeyObject) =>
  createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64');

/** Names the key to people, as the control plane does when it asks who may be taken in. */
export const keyNameOf = (key: KeyObject) => createHash('sha256').update(publicKeyOf(key)).digest('hex').slice(0, 32);

/** Base64 Ed25519 signature. */
export const signPayload = (key: KeyObject, payload: Uint8Array) => sign(null, payload, key).toString('base64');
