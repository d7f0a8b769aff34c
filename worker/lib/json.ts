/** The value of a JSON text; null for a text that is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Any escape, so that what follows a backslash is never taken for the begin of one; of surrogates, whole pairs first. */
const ESCAPE = /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[dD][89a-fA-F][\da-fA-F]{2}|.)/gs;
const LONE = /^\\u[dD][89a-fA-F]..$/;

/**
 * As `JSON.parse`, but each half of a surrogate pair that stands alone becomes U+FFFD, as in Go's: no such text can be
 * stored, sent or put into a URL. Throws for what is no JSON.
 */
export function parseWellFormed(text: string): unknown {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return JSON.parse(text);
  return JSON.parse(text.replace(ESCAPE, (found) => (LONE.test(found) ? '\\ufffd' : found)));
}
