/**
 * The little of X.509 that a trust store needs: is it a certificate, its SHA-256, whose name is on it, and until when.
 * No chain is built: trust is by fingerprint. Pure but for the digest.
 */

/** Reads one ASN.1 element; throws `RangeError` on anything truncated or of indefinite length. */
interface Element {
  tag: number;
  body: Uint8Array;
  /** Offset after this element. */
  end: number;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const OBJECT_ID = 0x06;
const EXPLICIT_0 = 0xa0;
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
/** 2.5.4.3 */
const COMMON_NAME = '85,4,3';

function readElement(bytes: Uint8Array, offset: number): Element {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined) throw new RangeError('asn1: truncated');
  let length = first;
  let start = offset + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new RangeError('asn1: bad length');
    length = 0;
    for (const byte of bytes.subarray(start, start + count)) length = length * 256 + byte;
    start += count;
  }
  const end = start + length;
  if (end > bytes.length) throw new RangeError('asn1: truncated');
  return { tag, body: bytes.subarray(start, end), end };
}

function readChildren(bytes: Uint8Array): Element[] {
  const children: Element[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const child = readElement(bytes, offset);
    children.push(child);
    offset = child.end;
  }
  return children;
}

function expect(element: Element | undefined, tag: number): Uint8Array {
  if (element?.tag !== tag) throw new RangeError(`asn1: expected tag ${tag}, found ${element?.tag ?? 'nothing'}`);
  return element.body;
}

/** tbsCertificate from the issuer on: issuer, validity, subject. */
function readBody(der: Uint8Array): { validity: Element; subject: Element } {
  const outer = readElement(der, 0);
  if (outer.end !== der.length) throw new RangeError('asn1: trailing bytes');
  const [tbs, algorithm, signature] = readChildren(expect(outer, SEQUENCE));
  expect(algorithm, SEQUENCE);
  expect(signature, 0x03);
  const fields = readChildren(expect(tbs, SEQUENCE));
  const [serial, , , validity, subject, publicKey] = fields[0]?.tag === EXPLICIT_0 ? fields.slice(1) : fields;
  expect(serial, INTEGER);
  expect(publicKey, SEQUENCE);
  if (validity === undefined || subject === undefined) throw new RangeError('asn1: truncated');
  expect(validity, SEQUENCE);
  expect(subject, SEQUENCE);
  return { validity, subject };
}

/** The subject's common name, `''` when it has none. Throws `RangeError` for what is no certificate. */
export function certificateName(der: Uint8Array): string {
  const { subject } = readBody(der);
  for (const set of readChildren(subject.body)) {
    for (const pair of readChildren(expect(set, SET))) {
      const [type, value] = readChildren(expect(pair, SEQUENCE));
      if (expect(type, OBJECT_ID).join() === COMMON_NAME && value !== undefined) {
        return new TextDecoder().decode(value.body);
      }
    }
  }
  return '';
}

/** Both as UTC ISO strings. Throws `RangeError` for what is no certificate. */
export function certificateDates(der: Uint8Array): { notBefore: string; notAfter: string } {
  const [from, to] = readChildren(readBody(der).validity.body);
  return { notBefore: readTime(from), notAfter: readTime(to) };
}

/** `YYMMDDhhmmssZ` (years 1950-2049) or `YYYYMMDDhhmmssZ`. */
function readTime(element: Element | undefined): string {
  const text = new TextDecoder().decode(element?.body);
  const short = element?.tag === UTC_TIME;
  if (!short && element?.tag !== GENERALIZED_TIME) throw new RangeError('asn1: expected a time');
  const digits = short ? `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}` : text;
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
  if (match === null) throw new RangeError('asn1: bad time');
  const [, year, month, day, hour, minute, second] = match;
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`).toISOString();
}

/** PEM in 64-character lines, with the final line break OpenSSL writes. */
export function derToPem(der: Uint8Array): string {
  const text = btoa(Array.from(der, (byte) => String.fromCharCode(byte)).join(''));
  const lines = text.match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

/** The first certificate of a PEM text, or of bare base64. Throws `RangeError` when there is none. */
export function pemToDer(text: string): Uint8Array {
  const pem = /-----BEGIN CERTIFICATE-----([\s\S]*?)-----END CERTIFICATE-----/.exec(text);
  const base64 = (pem?.[1] ?? text).replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw new RangeError('no certificate in PEM or base64');
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    throw new RangeError('no certificate in PEM or base64');
  }
}

/** SHA-256 of the DER, lower-case hex: LXD's fingerprint. */
export async function fingerprintOf(der: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(der));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
