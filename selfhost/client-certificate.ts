/** What the worker learns of a TLS client, in the shape Cloudflare gives it: `request.cf`. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

/** Holds ASCII only, so that it can be a header value. */
export interface CfBlob {
  clientAddress: string;
  tlsClientAuth: {
    certPresented: '0' | '1';
    /**
     * No chain is built: clients bring certificates they made themselves, and trust is by fingerprint. The handshake has
     * proven that they hold the key, so `SUCCESS` says that and that today is within the certificate's dates.
     */
    certVerified: string;
    certFingerprintSHA256: string;
    /** RFC 9440: the DER in base64 between colons. */
    certRFC9440: string;
    certNotBefore: string;
    certNotAfter: string;
  };
}

/** Describes the peer of a finished handshake, also of a resumed one. */
export function describeClient(socket: TLSSocket, now = Date.now()): CfBlob {
  const certificate = socket.getPeerX509Certificate();
  // An IPv4 client of a socket that also takes IPv6 shows up as ::ffff:a.b.c.d.
  const clientAddress = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return {
    clientAddress,
    tlsClientAuth: {
      certPresented: certificate === undefined ? '0' : '1',
      certVerified: verdict(certificate, now),
      certFingerprintSHA256: certificate?.fingerprint256.replaceAll(':', '').toLowerCase() ?? '',
      certRFC9440: certificate === undefined ? '' : `:${certificate.raw.toString('base64')}:`,
      certNotBefore: certificate?.validFrom ?? '',
      certNotAfter: certificate?.validTo ?? '',
    },
  };
}

function verdict(certificate: X509Certificate | undefined, now: number): string {
  if (certificate === undefined) return 'NONE';
  if (now < Date.parse(certificate.validFrom)) return 'FAILED:certificate is not yet valid';
  if (now > Date.parse(certificate.validTo)) return 'FAILED:certificate has expired';
  return 'SUCCESS';
}
