import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certificateDates, certificateName, derToPem, fingerprintOf, pemToDer } from '#worker/lib/x509.ts';
import { makeClient } from '../http/api.ts';

describe('certificates', () => {
  it('are read as OpenSSL reads them', async () => {
    const client = await makeClient('ada@läptop');
    const node = new X509Certificate(client.pem);
    expect(certificateName(client.der)).toBe('ada@läptop');
    const { notBefore, notAfter } = certificateDates(client.der);
    expect(Date.parse(notBefore)).toBe(Date.parse(node.validFrom));
    expect(Date.parse(notAfter)).toBe(Date.parse(node.validTo));
    expect(await fingerprintOf(client.der)).toBe(client.fingerprint);
    expect(derToPem(client.der)).toBe(client.pem);
    expect(Buffer.from(pemToDer(client.pem))).toEqual(client.der);
  });

  it('may be valid until after 2049, where the form of the time changes', async () => {
    const client = await makeClient('old', 365 * 60);
    expect(certificateDates(client.der).notAfter).toMatch(/^20[89]\d-/);
  });

  it('are not made of garbage: it is refused with a RangeError, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => certificateDates(bytes)).toThrow(RangeError);
      }),
    );
  });

  it('that are cut short or have something behind them are refused', async () => {
    const { der } = await makeClient('x');
    for (let length = 0; length < der.length; length += 7) {
      expect(() => certificateName(der.subarray(0, length))).toThrow(RangeError);
    }
    expect(() => certificateName(Buffer.concat([der, Buffer.from([0])]))).toThrow(RangeError);
  });

  it('with changed bytes are read or refused with a RangeError, never anything else', async () => {
    const { der } = await makeClient('x');
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), (at, value) => {
        const changed = Buffer.from(der);
        changed[at] = value;
        try {
          certificateName(changed);
          certificateDates(changed);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
