/**
 * Ends a DHCP lease in the client's name: dnsmasq has no other way to be told. One DHCPRELEASE (RFC 2131, 4.4.6) to the
 * bridge's address; a lost one leaves a lease that ends by itself.
 */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';

const SERVER_PORT = 67;
const MAGIC_COOKIE = [99, 130, 83, 99];
const RELEASE = 7;

const octets = (address: string) => address.split('.').map(Number);

/** The packet. Pure but for the transaction id. */
export function releasePacket(lease: { hwaddr: string; address: string; server: string }, xid: Uint8Array): Uint8Array {
  const packet = new Uint8Array(240 + 10);
  // BOOTREQUEST, Ethernet, 6 bytes of address.
  packet.set([1, 1, 6, 0, ...xid.slice(0, 4)]);
  packet.set(octets(lease.address), 12);
  packet.set(
    lease.hwaddr.split(':').map((part) => Number.parseInt(part, 16)),
    28,
  );
  packet.set([...MAGIC_COOKIE, 53, 1, RELEASE, 54, 4, ...octets(lease.server), 255], 236);
  return packet;
}

/** Resolves when the packet is sent. */
export function sendRelease(lease: { hwaddr: string; address: string; server: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.send(releasePacket(lease, randomBytes(4)), SERVER_PORT, lease.server, (error) => {
      socket.close();
      if (error === null) resolve();
      else reject(error);
    });
  });
}
