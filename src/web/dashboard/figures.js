// Numbers as people read them.

/** 12,345. */
export function grouped(number) {
  return Math.round(number).toLocaleString('en-GB');
}

/** 12.3k; exact below ten thousand. */
export function short(number) {
  if (number < 10) return String(Math.round(number * 10) / 10);
  if (number < 10_000) return grouped(number);
  const [unit, size] = number < 1e6 ? ['k', 1e3] : number < 1e9 ? ['M', 1e6] : ['G', 1e9];
  return `${digits(number / size)}${unit}`;
}

/** 3.4 MB. */
export function bytes(number) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = number;
  let unit = 0;
  for (; 1000 <= value && unit < units.length - 1; unit += 1) value /= 1000;
  return `${unit === 0 ? Math.round(value) : digits(value)} ${units[unit]}`;
}

/** 340 µs, 1.2 ms, 4.5 s; of nanoseconds. */
export function time(ns) {
  if (ns < 1e6) return `${digits(ns / 1e3)} µs`;
  if (ns < 1e9) return `${digits(ns / 1e6)} ms`;
  return duration(ns / 1e6);
}

/** 0.4 s, 12 s, 3 min, 2.1 h, 4 days; of milliseconds. */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${digits(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** 12.5 %. */
export function percent(share) {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** Three digits that count. */
function digits(value) {
  if (value < 10) return String(Math.round(value * 100) / 100);
  return String(value < 100 ? Math.round(value * 10) / 10 : Math.round(value));
}
