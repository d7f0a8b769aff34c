/** Making sure that a control plane is the one that is meant: by its fingerprint, which a person or a caller confirms. */
import { badRequest, failed } from '#protocol/errors.ts';
import type { KnownServer } from '../join/right.ts';
import { parseServerAddress } from '../link/address.ts';
import { readServerCertificate } from '../link/dial.ts';
import type { Terminal } from '../prompt/terminal.ts';

/**
 * The control plane at `address` when its fingerprint is `expected`, or, with none expected, when the person at the terminal
 * says so. Throws `unavailable` when nobody answers there, `failed` or `bad_request` for one that is not confirmed.
 */
export async function confirmServer(
  terminal: Terminal | null,
  address: string,
  expected: string | null,
): Promise<KnownServer & { pem: string }> {
  const server = parseServerAddress(address);
  const { fingerprint, pem } = await readServerCertificate(server);
  if (expected !== null) {
    if (normal(expected) === fingerprint) return { addresses: [address], fingerprint, pem };
    throw badRequest(`The certificate of ${server.authority} has another fingerprint: ${fingerprint}`);
  }
  if (terminal === null)
    throw badRequest(`Confirm the certificate of ${server.authority}: --fingerprint ${fingerprint}`);
  terminal.print(`Cluster fingerprint: ${fingerprint}`);
  terminal.print('You can validate this fingerprint by running "lxc info" locally on an existing cluster member.');
  const answer = await terminal.askString(
    'Is this the correct fingerprint? (yes/no/[fingerprint]) [default=no]: ',
    'no',
    (text) => (/^(yes|y|no|n)$/i.test(text) || normal(text) === fingerprint ? null : 'Not yes/no or fingerprint'),
  );
  if (/^(no|n)$/i.test(answer)) throw failed('User aborted configuration');
  return { addresses: [address], fingerprint, pem };
}

const normal = (fingerprint: string) => fingerprint.replaceAll(':', '').trim().toLowerCase();
