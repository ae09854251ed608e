import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Series } from './series.ts';

test('keeps columns of one length, and no more than the longest window', () => {
  const series = new Series(2);
  for (let at = 0; at < 1000; at += 1) series.push(at, [at, -at]);
  assert.ok(series.length >= 120 && series.length <= 125, `${series.length} samples`);
  for (const column of series.columns) assert.equal(column.length, series.length);
  assert.deepEqual(series.at(null), [999, -999]);
});

test('two samples of one moment are one, the later', () => {
  const series = new Series(1);
  series.push(10, [1]);
  series.push(10.1, [2]);
  assert.deepEqual(series.columns, [[2]]);
});

test('a pause breaks the line', () => {
  const series = new Series(1);
  series.push(10, [1]);
  series.push(20, [2]);
  assert.deepEqual(series.columns, [[1, null, 2]]);
  assert.ok(series.times.every((time, i) => i === 0 || time > (series.times[i - 1] ?? 0)));
});

test('the window widens with what there is to show', () => {
  const series = new Series(1);
  assert.equal(series.span(), 30);
  const spans = new Set<number>();
  for (let at = 0; at < 300; at += 1) {
    series.push(at, [0]);
    spans.add(series.span());
  }
  assert.deepEqual([...spans], [30, 60, 120]);
});

test('the peak passes over gaps', () => {
  const series = new Series(2);
  series.push(1, [null, 3]);
  series.push(2, [7, null]);
  assert.equal(series.peak(), 7);
});
