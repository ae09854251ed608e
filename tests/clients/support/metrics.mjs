// The metrics object: what every field of it must be, and what the sums in it must agree on.
import assert from 'node:assert/strict';

const number = (value, at) => assert.ok(typeof value === 'number' && Number.isFinite(value), `${at} is a number: ${value}`);
const count = (value, at) => assert.ok(Number.isInteger(value) && value >= 0, `${at} is a count: ${value}`);
const text = (value, at) => assert.ok(typeof value === 'string' && value !== '', `${at} is a text: ${value}`);
const time = (value, at) => assert.ok(!Number.isNaN(Date.parse(value)), `${at} is a time: ${value}`);
const optional = (shape) => (value, at) => value === null || check(value, shape, at);
const oneOf = (...values) => (value, at) => assert.ok(values.includes(value), `${at} is one of ${values}: ${value}`);
const record = (shape) => (value, at) => {
  assert.ok(value && typeof value === 'object' && !Array.isArray(value), `${at} is an object`);
  for (const [name, item] of Object.entries(value)) check(item, shape, `${at}.${name}`);
};
const list = (shape) => (value, at) => {
  assert.ok(Array.isArray(value), `${at} is a list`);
  value.forEach((item, i) => check(item, shape, `${at}[${i}]`));
};

const latency = { p50: number, p95: number, p99: number, avg: number };
const timeWindow = { events: count, avgLatency: number, errorRate: number };
const METRICS = {
  summary: {
    totalEvents: count,
    eventsPerSecond: number,
    avgLatency: number,
    errorRate: number,
    uniqueUsers: count,
    uniqueSources: count,
    uniqueEventTypes: count,
  },
  eventsByType: record(count),
  eventsBySource: record(count),
  eventsBySeverity: record(count),
  latencyMetrics: {
    overall: { ...latency, min: number, max: number, sampleCount: count },
    byType: record(latency),
    bySource: record(latency),
  },
  errorMetrics: { totalErrors: count, errorRate: number, errorsByType: record(count), errorsBySource: record(count) },
  throughput: {
    current: number,
    peak: number,
    peakTimestamp: optional(time),
    avg: number,
    trend: oneOf('increasing', 'steady', 'decreasing'),
  },
  timeWindows: {
    last1Minute: timeWindow,
    last5Minutes: timeWindow,
    last15Minutes: timeWindow,
    last1Hour: timeWindow,
    last24Hours: timeWindow,
  },
  topUsers: list({ userId: text, eventCount: count, lastSeen: time }),
  anomalies: list({
    severity: text,
    type: oneOf('high_error_rate', 'high_latency', 'traffic_spike'),
    message: text,
    threshold: number,
    currentValue: number,
    detectedAt: time,
  }),
};

function check(value, shape, at) {
  if (typeof shape === 'function') return void shape(value, at);
  assert.ok(value && typeof value === 'object', `${at} is an object: ${value}`);
  for (const [name, inner] of Object.entries(shape)) {
    assert.ok(Object.hasOwn(value, name), `${at} has ${name}`);
    check(value[name], inner, `${at}.${name}`);
  }
}

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);

/** Asserts that `metrics` has every field with its right type, and that its sums agree. */
export function assertMetrics(metrics) {
  check(metrics, METRICS, 'metrics');
  const { totalEvents } = metrics.summary;
  for (const by of ['eventsByType', 'eventsBySource', 'eventsBySeverity']) {
    assert.equal(sum(metrics[by]), totalEvents, `${by} add up to totalEvents`);
  }
  for (const by of ['errorsByType', 'errorsBySource']) {
    assert.equal(sum(metrics.errorMetrics[by]), metrics.errorMetrics.totalErrors, `${by} add up to totalErrors`);
  }
}
