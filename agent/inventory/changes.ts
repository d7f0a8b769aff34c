/** Which differences between two reports are worth a frame. Pure. */
import type { InstanceReport, InstanceState } from '#protocol/inventory.ts';

/** A tenth, and more than a busy idle process makes. */
const RELATIVE = 0.1;
const MEMORY_FLOOR_BYTES = 4 * 1024 * 1024;
const DISK_FLOOR_BYTES = 16 * 1024 * 1024;
const CPU_FLOOR_NS = 5e9;

/** Status, process or addresses: told at once. */
export function hasNews(before: InstanceReport | undefined, now: InstanceReport): boolean {
  if (before === undefined || before.status !== now.status) return true;
  return before.state?.pid !== now.state?.pid || addressesOf(before.state) !== addressesOf(now.state);
}

/** Usage that a reader of `lxc info` would notice: told at the next refresh. */
export function hasUsageNews(before: InstanceReport, now: InstanceReport): boolean {
  if (before.state === null || now.state === null) return before.state !== now.state;
  const moved = (from: number, to: number, floor: number) =>
    Math.abs(to - from) > Math.max(floor, RELATIVE * Math.max(from, to));
  return (
    moved(before.state.memory.usage, now.state.memory.usage, MEMORY_FLOOR_BYTES) ||
    moved(before.state.cpuUsageNs, now.state.cpuUsageNs, CPU_FLOOR_NS) ||
    moved(before.state.processes, now.state.processes, 1) ||
    moved(diskOf(before.state), diskOf(now.state), DISK_FLOOR_BYTES)
  );
}

const diskOf = (state: InstanceState) => Object.values(state.disk).reduce((sum, disk) => sum + disk.usageBytes, 0);

function addressesOf(state: InstanceState | null): string {
  const nics = Object.entries(state?.network ?? {}).map(([name, nic]) => [
    name,
    nic.hwaddr,
    nic.hostName,
    nic.addresses.map((address) => `${address.address}/${address.netmask}`).sort(),
  ]);
  return JSON.stringify(nics.sort());
}
