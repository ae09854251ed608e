// Sums over disks and interfaces of which the operating system lists some more than once, or that stay inside the machine.
import type { Disk, NetworkInterface } from './types.ts';

/** One entry a device, the one with the shortest path: bind mounts list a device again and again. */
export function byDevice(disks: readonly Disk[]): Disk[] {
  const devices = new Map<string, Disk>();
  for (const disk of disks) {
    const known = devices.get(disk.device);
    if (!known || disk.mountpoint.length < known.mountpoint.length) devices.set(disk.device, disk);
  }
  return [...devices.values()];
}

/** Bytes per second of all devices, each counted once however often it is mounted. */
export function diskTraffic(disks: readonly Disk[]): { read: number; write: number } {
  const most = new Map<string, { read: number; write: number }>();
  for (const { device, read_bytes_per_sec, write_bytes_per_sec } of disks) {
    const known = most.get(device) ?? { read: 0, write: 0 };
    most.set(device, { read: Math.max(known.read, read_bytes_per_sec), write: Math.max(known.write, write_bytes_per_sec) });
  }
  const sum = { read: 0, write: 0 };
  for (const { read, write } of most.values()) {
    sum.read += read;
    sum.write += write;
  }
  return sum;
}

/** The interfaces that lead out of the machine; the loopback only where there is no other. */
export function external(interfaces: readonly NetworkInterface[]): NetworkInterface[] {
  const others = interfaces.filter(({ interface: name }) => !/^lo\d*$/.test(name));
  return others.length > 0 ? others : [...interfaces];
}

/** Bytes per second over all interfaces that lead out. */
export function networkTraffic(interfaces: readonly NetworkInterface[]): { received: number; sent: number } {
  const sum = { received: 0, sent: 0 };
  for (const { rx_bytes_per_sec, tx_bytes_per_sec } of external(interfaces)) {
    sum.received += rx_bytes_per_sec;
    sum.sent += tx_bytes_per_sec;
  }
  return sum;
}

/** Bytes per second in both directions. */
export const traffic = ({ rx_bytes_per_sec, tx_bytes_per_sec }: NetworkInterface): number => rx_bytes_per_sec + tx_bytes_per_sec;
