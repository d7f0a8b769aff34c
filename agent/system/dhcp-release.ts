/** Tells a DHCP server on this host that a client gave its address back, as the client would: the one way to end a lease
 * in a running dnsmasq. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { lastError, libc } from './libc.ts';

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SERVER_PORT = 67;
const MAGIC_COOKIE = [99, 130, 83, 99];
const OPTION = { messageType: 53, serverId: 54, end: 255 };
const DHCPRELEASE = 7;

const bytesOf = (ipv4: string) => ipv4.split('.').map(Number);

/** A DHCPRELEASE message (RFC 2131) for `address`, held by `hwaddr`. */
export function releaseMessage(lease: { address: string; hwaddr: string; server: string }): Buffer {
  const message = Buffer.alloc(300);
  // BOOTREQUEST over Ethernet, 6 bytes of hardware address.
  message.set([1, 1, 6, 0], 0);
  message.set(randomBytes(4), 4);
  message.set(bytesOf(lease.address), 12);
  message.set(
    lease.hwaddr.split(':').map((part) => Number.parseInt(part, 16)),
    28,
  );
  message.set(MAGIC_COOKIE, 236);
  message.set([OPTION.messageType, 1, DHCPRELEASE, OPTION.serverId, 4, ...bytesOf(lease.server), OPTION.end], 240);
  return message;
}

/**
 * Sends it to the server's own address as if it came in by `device`. Nobody answers a release: look at the leases. Throws
 * when it cannot be sent.
 */
export function sendDhcpRelease(device: string, lease: { address: string; hwaddr: string; server: string }): void {
  const socket: number = libc('int socket(int family, int type, int protocol)')(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  if (socket < 0) throw lastError('socket', device);
  try {
    const name = Buffer.from(`${device}\0`);
    const setsockopt = libc('int setsockopt(int fd, int level, int option, void *value, unsigned int length)');
    if (setsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, name, name.length) !== 0) throw lastError('setsockopt', device);
    const to = Buffer.alloc(16);
    to.writeUInt16LE(AF_INET, 0);
    to.writeUInt16BE(SERVER_PORT, 2);
    to.set(bytesOf(lease.server), 4);
    const message = releaseMessage(lease);
    const sendto = libc('long sendto(int fd, void *data, size_t length, int flags, void *to, unsigned int toLength)');
    if (Number(sendto(socket, message, message.length, 0, to, to.length)) < 0) throw lastError('sendto', lease.server);
  } finally {
    closeSync(socket);
  }
}
