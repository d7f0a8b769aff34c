/** Signatures of agents, by WebCrypto. */

function fromBase64(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

/** True when `signature` (base64) over `payload` was made by the key (SPKI DER in base64). Garbage is false, never a throw. */
export async function verifyEd25519(publicKey: string, signature: string, payload: Uint8Array): Promise<boolean> {
  const der = fromBase64(publicKey);
  const bytes = fromBase64(signature);
  if (der === null || bytes === null) return false;
  try {
    const key = await crypto.subtle.importKey('spki', der, { name: 'Ed25519' }, false, ['verify']);
    return await crypto.subtle.verify('Ed25519', key, bytes, payload);
  } catch {
    return false;
  }
}
