/** What is in the files of control groups. All pure; lines that mean nothing here are passed over. */

/** `user_usec 12` → 12. */
export function parseKeyed(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [key, value] = line.split(' ');
    const number = Number(value);
    if (key !== undefined && value !== undefined && Number.isFinite(number)) found.set(key, number);
  }
  return found;
}

/** `cpuacct.usage_all`, in nanoseconds → number of the CPU, seconds in user mode, seconds in the kernel. */
export function parseUsageAll(text: string): [number, number, number][] {
  return text.split('\n').flatMap((line): [number, number, number][] => {
    const [cpu, user, system] = line.split(' ').map(Number);
    const isRow = cpu !== undefined && user !== undefined && system !== undefined && Number.isInteger(cpu);
    return isRow ? [[cpu, user / 1e9, system / 1e9]] : [];
  });
}

/** `<major>:<minor>`, bytes read, reads, bytes written, writes. */
export type DeviceIo = [string, number, number, number, number];

/** The blkio files of v1: lines `8:0 Read 4096`, the bytes in one file and the requests in the other. */
export function parseOldIo(bytes: string, requests: string): DeviceIo[] {
  const found = new Map<string, DeviceIo>();
  const note = (text: string, read: 1 | 2, written: 3 | 4) => {
    for (const line of text.split('\n')) {
      const [device, kind, value] = line.split(' ');
      if (device === undefined || value === undefined || (kind !== 'Read' && kind !== 'Write')) continue;
      const row = found.get(device) ?? [device, 0, 0, 0, 0];
      row[kind === 'Read' ? read : written] = Number(value);
      found.set(device, row);
    }
  };
  note(bytes, 1, 3);
  note(requests, 2, 4);
  return [...found.values()];
}

/** `io.stat` of v2: lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`. */
export function parseIoStat(text: string): DeviceIo[] {
  return text.split('\n').flatMap((line): DeviceIo[] => {
    const [device, ...pairs] = line.split(' ');
    if (device === undefined || !/^\d+:\d+$/.test(device)) return [];
    const of = new Map(pairs.map((pair) => pair.split('=', 2)).map(([key = '', value]) => [key, Number(value)]));
    const at = (key: string) => of.get(key) || 0;
    return [[device, at('rbytes'), at('rios'), at('wbytes'), at('wios')]];
  });
}
