/**
 * The network interfaces inside another process's network namespace, without starting a program: the thread steps into
 * the namespace, asks the kernel, and steps back before anything else can run.
 */
import { closeSync, openSync } from 'node:fs';
import os from 'node:os';
import { lastError, libc } from './libc.ts';

const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCGIFFLAGS = 0x8913;
const SIOCGIFMTU = 0x8921;
const SIOCGIFHWADDR = 0x8927;
const IFNAMSIZ = 16;
const SIZEOF_IFREQ = 40;
const IFF = { UP: 1, BROADCAST: 2, LOOPBACK: 8, POINTOPOINT: 16 };

/** Runs the synchronous `look` in the network namespace of `pid`. Throws ENOENT when the process is gone. */
export function inNetworkNamespace<T>(pid: number, look: () => T): T {
  const setns = libc('int setns(int fd, int kind)');
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    const there = openSync(`/proc/${pid}/ns/net`, 'r');
    try {
      if (setns(there, CLONE_NEWNET) !== 0) throw lastError('setns', `net of ${pid}`);
      try {
        return look();
      } finally {
        // An agent lost in a container's network must not live on.
        if (setns(home, CLONE_NEWNET) !== 0) process.abort();
      }
    } finally {
      closeSync(there);
    }
  } finally {
    closeSync(home);
  }
}

export interface Interface {
  name: string;
  hwaddr: string;
  mtu: number;
  up: boolean;
  type: 'loopback' | 'broadcast' | 'point-to-point' | 'unknown';
  addresses: { family: 'inet' | 'inet6'; address: string; prefixLength: number; linkLocal: boolean }[];
}

function typeOf(flags: number): Interface['type'] {
  if (flags & IFF.LOOPBACK) return 'loopback';
  if (flags & IFF.POINTOPOINT) return 'point-to-point';
  return flags & IFF.BROADCAST ? 'broadcast' : 'unknown';
}

/** The interfaces called `names`, as the namespace of the calling thread has them; a name that is gone is left out. */
export function readInterfaces(names: readonly string[]): Interface[] {
  const ioctl = libc('int ioctl(int fd, unsigned long request, void *argument)');
  const socket: number = libc('int socket(int family, int type, int protocol)')(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  if (socket < 0) throw lastError('socket', 'inet');
  const ask = (name: string, request: number): Buffer | null => {
    const ifreq = Buffer.alloc(SIZEOF_IFREQ);
    ifreq.write(name, 0, IFNAMSIZ - 1, 'latin1');
    return ioctl(socket, request, ifreq) === 0 ? ifreq.subarray(IFNAMSIZ) : null;
  };
  try {
    const known = os.networkInterfaces();
    return names.flatMap((name): Interface[] => {
      const flags = ask(name, SIOCGIFFLAGS)?.readUInt16LE(0);
      if (flags === undefined) return [];
      const hwaddr = ask(name, SIOCGIFHWADDR)?.subarray(2, 8) ?? Buffer.alloc(6);
      return [
        {
          name,
          hwaddr: [...hwaddr].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
          mtu: ask(name, SIOCGIFMTU)?.readInt32LE(0) ?? 0,
          up: (flags & IFF.UP) !== 0,
          type: typeOf(flags),
          addresses: (known[name] ?? []).map((one) => ({
            family: one.family === 'IPv4' ? 'inet' : 'inet6',
            address: one.address,
            prefixLength: Number(one.cidr?.split('/')[1] ?? (one.family === 'IPv4' ? 32 : 128)),
            linkLocal: /^fe[89ab]/i.test(one.address),
          })),
        },
      ];
    });
  } finally {
    closeSync(socket);
  }
}

export interface Counters {
  bytesReceived: number;
  packetsReceived: number;
  errorsReceived: number;
  droppedReceived: number;
  bytesSent: number;
  packetsSent: number;
  errorsSent: number;
  droppedSent: number;
}

/** Parses `/proc/<pid>/net/dev`: interface name → counters, in the kernel's order. */
export function parseNetDev(text: string): Map<string, Counters> {
  const found = new Map<string, Counters>();
  for (const line of text.split('\n').slice(2)) {
    const colon = line.lastIndexOf(':');
    if (colon < 0) continue;
    const figures = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const at = (index: number) => figures[index] ?? 0;
    found.set(line.slice(0, colon).trim(), {
      bytesReceived: at(0),
      packetsReceived: at(1),
      errorsReceived: at(2),
      droppedReceived: at(3),
      bytesSent: at(8),
      packetsSent: at(9),
      errorsSent: at(10),
      droppedSent: at(11),
    });
  }
  return found;
}
