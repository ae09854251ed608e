import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byDevice, diskTraffic, networkTraffic } from './traffic.ts';
import type { Disk } from './types.ts';

const disk = (device: string, mountpoint: string, read = 0, write = 0): Disk => ({
  device,
  mountpoint,
  fstype: 'ext4',
  total: 100,
  used: 50,
  free: 50,
  used_percent: 50,
  read_bytes_per_sec: read,
  write_bytes_per_sec: write,
});

test('a device mounted twice counts once, under its shortest path', () => {
  const disks = [disk('/dev/a', '/etc/hosts', 5, 7), disk('/dev/a', '/', 5, 7), disk('/dev/b', '/srv', 1, 2)];
  assert.deepEqual(diskTraffic(disks), { read: 6, write: 9 });
  assert.deepEqual(byDevice(disks).map(({ mountpoint }) => mountpoint), ['/', '/srv']);
});

test('the loopback counts only where it is alone', () => {
  const lo = { interface: 'lo', rx_bytes_per_sec: 10, tx_bytes_per_sec: 10 };
  const eth0 = { interface: 'eth0', rx_bytes_per_sec: 3, tx_bytes_per_sec: 4 };
  assert.deepEqual(networkTraffic([lo, eth0]), { received: 3, sent: 4 });
  assert.deepEqual(networkTraffic([lo]), { received: 10, sent: 10 });
  assert.deepEqual(networkTraffic([]), { received: 0, sent: 0 });
});
