// The objects that the server sends, as TypeScript types. Nothing here runs.

/** Latencies in milliseconds. */
export interface Latency {
  p50: number;
  p95: number;
  p99: number;
  avg: number;
}

/** Latencies in milliseconds over all events that had one. */
export interface OverallLatency extends Latency {
  min: number;
  max: number;
  sampleCount: number;
}

/** Events of one window of time: `avgLatency` in milliseconds, `errorRate` in percent. */
export interface TimeWindow {
  events: number;
  avgLatency: number;
  errorRate: number;
}

export interface Anomaly {
  severity: string;
  type: string;
  message: string;
  threshold: number;
  currentValue: number;
  detectedAt: string;
}

export type Counts = Record<string, number>;
export type Trend = 'increasing' | 'steady' | 'decreasing';

/** `/topic/metrics` and `GET /api/v1/metrics`: latencies in milliseconds, rates of errors in percent, others per second. */
export interface Metrics {
  summary: {
    totalEvents: number;
    eventsPerSecond: number;
    avgLatency: number;
    errorRate: number;
    uniqueUsers: number;
    uniqueSources: number;
    uniqueEventTypes: number;
  };
  eventsByType: Counts;
  eventsBySource: Counts;
  eventsBySeverity: Counts;
  latencyMetrics: {
    overall: OverallLatency;
    byType: Record<string, Latency>;
    bySource: Record<string, Latency>;
  };
  errorMetrics: {
    totalErrors: number;
    errorRate: number;
    errorsByType: Counts;
    errorsBySource: Counts;
  };
  throughput: {
    current: number;
    peak: number;
    peakTimestamp: string | null;
    avg: number;
    trend: Trend;
  };
  timeWindows: Record<WindowName, TimeWindow>;
  topUsers: { userId: string; eventCount: number; lastSeen: string }[];
  anomalies: Anomaly[];
}

export type WindowName = 'last1Minute' | 'last5Minutes' | 'last15Minutes' | 'last1Hour' | 'last24Hours';

/** A mounted file system and the traffic of its device. Sizes in bytes. */
export interface Disk {
  device: string;
  mountpoint: string;
  fstype: string;
  total: number;
  used: number;
  free: number;
  used_percent: number;
  read_bytes_per_sec: number;
  write_bytes_per_sec: number;
}

export interface NetworkInterface {
  interface: string;
  rx_bytes_per_sec: number;
  tx_bytes_per_sec: number;
}

/** `/topic/host-metrics:<host>`. Sizes in bytes, usage in percent. */
export interface HostMetrics {
  host_id: string;
  timestamp: string | number;
  cpu: { usage_percent: number; cores: number; per_core: number[]; load_average: number[] };
  memory: {
    total: number;
    used: number;
    free: number;
    available: number;
    used_percent: number;
    swap_total: number;
    swap_used: number;
  };
  disk: Disk[];
  network: NetworkInterface[];
}

/** What became of a task; times are ISO 8601. */
export interface TaskEvent {
  task_id: string;
  type: string;
  status: string;
  /** In percent. */
  progress: number;
  message: string;
  updated_at: string;
}

/** A node of the broker, as it says of itself. */
export interface ClusterNode {
  node: string;
  /** Another at every start. */
  incarnation: string;
  version: string;
  /** Open connections of clients. */
  connections: number;
  /** When it started, in milliseconds since 1970. */
  since: number;
  /** `starting`, `ok`, `degraded` or `draining`. */
  status: string;
}

/** `/topic/nodes` and `GET /api/v1/nodes`. */
export interface Nodes {
  nodes: ClusterNode[];
}
