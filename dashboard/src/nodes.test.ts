import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeRows } from './nodes.ts';
import type { ClusterNode } from './types.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const node = (name: string, rest: Partial<ClusterNode> = {}): ClusterNode => ({
  node: name,
  incarnation: '0000002a',
  version: '1.2.3',
  connections: 0,
  since: NOW - 90_000,
  status: 'ok',
  ...rest,
});

test('nodes are ordered by name, and those of one name by their start', () => {
  const nodes = [node('b'), node('c', { since: NOW - 1000, status: 'starting' }), node('a'), node('c', { since: NOW - 5000 })];
  assert.deepEqual(
    nodeRows({ nodes }, NOW).map(({ name, status }) => `${name} ${status}`),
    ['a ok', 'b ok', 'c ok', 'c starting'],
  );
});

test('a node is shown with its connections and its age', () => {
  assert.deepEqual(nodeRows({ nodes: [node('a', { connections: 12_345 })] }, NOW), [
    { name: 'a', status: 'ok', isWell: true, connections: '12,345', uptime: '1 min', version: '1.2.3' },
  ]);
});

test('only who serves and lacks nothing is well', () => {
  const isWell = (status: string): boolean | undefined => nodeRows({ nodes: [node('a', { status })] }, NOW)[0]?.isWell;
  assert.deepEqual(['ok', 'starting', 'degraded', 'draining', ''].map(isWell), [true, false, false, false, false]);
});

test('a start may lie ahead by another clock, or not be told', () => {
  const uptime = (since: number): string | undefined => nodeRows({ nodes: [node('a', { since })] }, NOW)[0]?.uptime;
  assert.equal(uptime(NOW + 5000), '0 s');
  assert.equal(uptime(NaN), '–');
});

test('what is no such message shows no nodes', () => {
  for (const value of [undefined, null, 7, 'text', {}, { nodes: 'many' }, { nodes: [null, 3, {}] }]) assert.deepEqual(nodeRows(value, NOW), []);
});
