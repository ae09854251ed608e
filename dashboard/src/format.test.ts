import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NONE, age, byteRate, ceiling, count, curl, duration, perSecond, percent, plain, size, text } from './format.ts';

const shown = (quantity: { value: string; unit: string }) => text(quantity).replace('\u00a0', ' ');

test('sizes are binary, rates decimal, and no unit reaches a thousand of itself', () => {
  assert.equal(shown(size(0)), '0 B');
  assert.equal(shown(size(1023)), '1,023 B');
  assert.equal(shown(size(1023.7)), '1.00 KiB');
  assert.equal(shown(size(16 * 2 ** 30)), '16.0 GiB');
  assert.equal(shown(byteRate(999)), '999 B/s');
  assert.equal(shown(byteRate(999.6)), '1.00 kB/s');
  assert.equal(shown(byteRate(999_700)), '1.00 MB/s');
  assert.equal(shown(byteRate(123_456_789)), '123 MB/s');
});

test('counts are in full up to a million', () => {
  assert.equal(shown(count(0)), '0');
  assert.equal(shown(count(999_999)), '999,999');
  assert.equal(shown(count(1_234_567)), '1.23 M');
});

test('a trace is told from nothing', () => {
  assert.equal(shown(percent(0)), '0.0 %');
  assert.equal(shown(percent(0.01)), '<0.1 %');
  assert.equal(shown(percent(99.96)), '100.0 %');
  assert.equal(shown(perSecond(0)), '0 /s');
  assert.equal(shown(perSecond(0.001)), '<0.01 /s');
  assert.equal(shown(perSecond(0.1)), '0.10 /s');
  assert.equal(shown(perSecond(12_345)), '12,345 /s');
});

test('durations keep three figures at most in each unit', () => {
  assert.equal(shown(duration(0)), '0 ms');
  assert.equal(shown(duration(0.25)), '0.25 ms');
  assert.equal(shown(duration(9.94)), '9.9 ms');
  assert.equal(shown(duration(999)), '999 ms');
  assert.equal(shown(duration(999.6)), '1.00 s');
  assert.equal(shown(duration(12_345)), '12.3 s');
  assert.equal(shown(duration(120_000)), '2.0 min');
});

test('what is no number is shown as a dash', () => {
  for (const format of [size, byteRate, count, percent, perSecond, duration]) {
    assert.equal(format(NaN).value, NONE);
    assert.equal(format(Infinity).value, NONE);
  }
});

test('labels of a scale drop zeros that say nothing', () => {
  assert.equal(shown(plain(byteRate(5_000_000))), '5 MB/s');
  assert.equal(shown(plain(byteRate(2_500_000))), '2.5 MB/s');
  assert.equal(shown(plain(duration(500))), '500 ms');
});

test('the top of a scale is round and not below its floor', () => {
  assert.equal(ceiling(0, 1), 1);
  assert.equal(ceiling(1, 1), 1);
  assert.equal(ceiling(1.01, 1), 2);
  assert.equal(ceiling(58, 1), 100);
  assert.equal(ceiling(0, 10_000), 10_000);
  for (let x = 1; x < 1e9; x *= 1.37) assert.ok(ceiling(x, 1) >= x && ceiling(x, 1) <= 2.5 * x + 1e-9, `${x}`);
});

test('ages count whole units', () => {
  assert.equal(age(0.9), '0 s');
  assert.equal(age(59.9), '59 s');
  assert.equal(age(119), '1 min');
  assert.equal(age(7200), '2 h');
});

test('a quote in a value does not end the argument of the shell line', () => {
  assert.equal(
    curl('http://localhost:8080/api/v1/events', { source: "it's" }),
    String.raw`curl http://localhost:8080/api/v1/events -H 'content-type: application/json' -d '{"source":"it'\''s"}'`,
  );
});
