// Samples over time for one chart: columns of equal length, bounded by age. Draws nothing.

/** Seconds that a chart shows: the first of these that holds all samples, so that a new chart is not mostly empty. */
export const SPANS = [30, 60, 120] as const;
const LONGEST = 120;
/** Samples further apart than this, in seconds, are not joined by a line. */
const GAP = 3.5;
/** Samples closer than this, in seconds, are one: the later one stands. */
const SAME = 0.25;

export type Sample = readonly (number | null)[];

export class Series {
  readonly times: number[] = [];
  readonly columns: (number | null)[][];

  constructor(width: number) {
    this.columns = Array.from({ length: width }, () => []);
  }

  /** Takes a sample of time `at` (seconds), which must not go back. */
  push(at: number, sample: Sample): void {
    const last = this.times.at(-1);
    if (last !== undefined && at - last < SAME) {
      this.columns.forEach((column, i) => (column[column.length - 1] = sample[i] ?? null));
      return;
    }
    if (last !== undefined && at - last > GAP) this.append(last + SAME, []);
    this.append(at, sample);
    this.trim(at - LONGEST - GAP);
  }

  get length(): number {
    return this.times.length;
  }

  /** The sample at `index`, or the newest one. */
  at(index: number | null): Sample {
    return this.columns.map((column) => column.at(index ?? -1) ?? null);
  }

  /** Seconds to show now, one of `SPANS`. */
  span(): number {
    const held = (this.times.at(-1) ?? 0) - (this.times[0] ?? 0);
    return SPANS.find((span) => span >= held) ?? LONGEST;
  }

  /** The greatest value in the window. */
  peak(): number {
    let peak = 0;
    for (const column of this.columns) for (const value of column) if (value !== null && value > peak) peak = value;
    return peak;
  }

  private append(at: number, sample: Sample): void {
    this.times.push(at);
    this.columns.forEach((column, i) => column.push(sample[i] ?? null));
  }

  private trim(oldest: number): void {
    const keep = this.times.findIndex((time) => time >= oldest);
    if (keep <= 0) return;
    this.times.splice(0, keep);
    for (const column of this.columns) column.splice(0, keep);
  }
}
