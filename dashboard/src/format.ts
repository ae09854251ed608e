// Numbers and times as text: pure functions, each giving a value and its unit apart so that a page can style them.

export interface Quantity {
  value: string;
  unit: string;
}

/** What stands where there is no value. */
export const NONE = '–';
const ABSENT: Quantity = { value: NONE, unit: '' };

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** Three significant figures at least, never an exponent, no digits that only flicker. */
function figures(x: number): string {
  if (x === 0) return '0';
  if (Math.abs(x) >= 99.95) return grouped.format(x);
  return x.toFixed(Math.abs(x) >= 9.995 ? 1 : 2);
}

function scaled(x: number, base: number, units: readonly string[]): Quantity {
  if (!Number.isFinite(x)) return ABSENT;
  let value = x;
  let step = 0;
  // 999.5 of a unit would print as 1,000 of it: go on to the next one.
  while (Math.abs(value) >= base - 0.5 && step < units.length - 1) {
    value /= base;
    step += 1;
  }
  return { value: step === 0 ? grouped.format(value) : figures(value), unit: units[step] ?? '' };
}

/** A size in bytes, in binary units as memory is sold. */
export const size = (bytes: number): Quantity => scaled(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);

/** Bytes per second, in decimal units as networks and disks are sold. */
export const byteRate = (bytes: number): Quantity => scaled(bytes, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s']);

/** A count: in full up to a million, then shortened. */
export function count(n: number): Quantity {
  if (!Number.isFinite(n)) return ABSENT;
  if (Math.abs(n) < 999_999.5) return { value: grouped.format(n), unit: '' };
  return scaled(n, 1000, ['', 'k', 'M', 'bn', 'tn']);
}

/** Percent with one decimal; a trace is told from nothing. */
export function percent(x: number): Quantity {
  if (!Number.isFinite(x)) return ABSENT;
  if (x > 0 && x < 0.05) return { value: '<0.1', unit: '%' };
  return { value: x.toFixed(1), unit: '%' };
}

/** Events per second. */
export function perSecond(x: number): Quantity {
  if (!Number.isFinite(x)) return ABSENT;
  if (x > 0 && x < 0.005) return { value: '<0.01', unit: '/s' };
  if (x >= 999_999.5) {
    const { value, unit } = count(x);
    return { value, unit: `${unit}/s` };
  }
  return { value: x === 0 || x >= 99.95 ? grouped.format(x) : x.toFixed(x >= 9.95 ? 1 : 2), unit: '/s' };
}

/** A duration given in milliseconds. */
export function duration(ms: number): Quantity {
  if (!Number.isFinite(ms)) return ABSENT;
  if (ms < 999.5) return { value: ms === 0 ? '0' : ms >= 9.95 ? ms.toFixed(0) : ms.toFixed(ms >= 0.995 ? 1 : 2), unit: 'ms' };
  if (ms < 99_950) return { value: (ms / 1000).toFixed(ms < 9_995 ? 2 : 1), unit: 's' };
  return { value: (ms / 60_000).toFixed(1), unit: 'min' };
}

/** Whole seconds, minutes or hours since something. */
export function age(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** Without the zeros at the end of a fraction: for numbers that stand still, as on a scale. */
export const plain = ({ value, unit }: Quantity): Quantity => ({ value: value.replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, ''), unit });

/** A quantity as one text, with a no-break space before its unit. */
export const text = ({ value, unit }: Quantity): string => (unit ? `${value}\u00a0${unit}` : value);

/** The least "round" number not below `x`: 1, 2 or 5 times a power of `base`. */
export function ceiling(x: number, floor: number, base = 10): number {
  const wanted = Math.max(x, floor);
  const power = base ** Math.floor(Math.log(wanted) / Math.log(base));
  for (const factor of [1, 2, 5, 10, 20, 50, 100, 200, 500]) {
    if (factor * power >= wanted) return factor * power;
  }
  return base * power;
}

/** A shell line that posts `body` to `url`. */
export function curl(url: string, body: unknown): string {
  const json = JSON.stringify(body).replaceAll("'", String.raw`'\''`);
  return `curl ${url} -H 'content-type: application/json' -d '${json}'`;
}
