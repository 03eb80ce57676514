// Drawings: lines over time, the percentile curve, and the heat map.
//
// Lines are SVG, whose colours follow the style sheet; the heat map has too many cells for that and is a canvas.

const SVG = 'http://www.w3.org/2000/svg';
const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

/**
 * Draws lines over the last `seconds`, each `{ name, points: [[at, value], …] }`. `logarithmic`: the vertical axis is, and has
 * no zero.
 */
export function drawLines(svg, { lines, seconds, now, format, logarithmic = false }) {
  const frame = frameOf(svg);
  const values = lines.flatMap(({ points }) => points.map(([, value]) => value)).filter((value) => value !== null);
  const scale = logarithmic ? logScale(values, frame) : linearScale(values, frame);
  const x = (at) => frame.left + (1 - (now - at) / (seconds * 1000)) * frame.width;
  const parts = [...gridOf(frame, scale, format), ...timesOf(frame, seconds)];
  for (const { name, points } of lines) {
    const path = element('path', { class: `line ${name}`, d: pathOf(points, x, scale.y) });
    parts.push(path);
  }
  if (values.length === 0) parts.push(label(frame.left + frame.width / 2, TOP + frame.height / 2, 'nothing yet', 'middle'));
  svg.replaceChildren(...parts);
}

/** Draws latency by percentile, on an axis on which each nine takes the same room; each line is `{ name, buckets }`. */
export function drawCurve(svg, { lines, format }) {
  const frame = frameOf(svg);
  const spectra = lines.map(({ name, buckets }) => ({ name, points: spectrumOf(buckets) }));
  const all = spectra.flatMap(({ points }) => points);
  const nines = Math.max(3, Math.ceil(Math.max(0, ...all.map(([place]) => place))));
  const scale = logScale(all.map(([, value]) => value), frame);
  const x = (place) => frame.left + (place / nines) * frame.width;
  const parts = [...gridOf(frame, scale, format)];
  for (let nine = 0; nine <= nines; nine += 1) {
    const text = nine === 0 ? '0 %' : nine === 1 ? '90 %' : `99${nine === 2 ? '' : `.${'9'.repeat(nine - 2)}`} %`;
    const anchor = nine === 0 ? 'start' : nine === nines ? 'end' : 'middle';
    parts.push(element('path', { class: 'grid', d: `M${x(nine)},${TOP}V${TOP + frame.height}` }));
    // There is not always room for all of them. The last stands to the left of its place, and so takes some from the one before.
    const room = frame.width / nines / (nine + 1 === nines ? 1.6 : 1);
    const isRoomy = LABEL_WIDTH < room || nine === nines || (nine % 2 === 0 && nine + 1 < nines);
    if (isRoomy) parts.push(label(x(nine), TOP + frame.height + 14, text, anchor));
  }
  for (const { name, points } of spectra) {
    const path = points.map(([place, value]) => `${x(place).toFixed(1)},${scale.y(value).toFixed(1)}`).join('L');
    parts.push(element('path', { class: `line ${name}`, d: path === '' ? '' : `M${path}` }));
  }
  if (all.length === 0) parts.push(label(frame.left + frame.width / 2, TOP + frame.height / 2, 'nothing yet', 'middle'));
  svg.replaceChildren(...parts);
}

/** Draws how many deliveries took how long: a column a second, rows by latency. Returns whether there are any. */
export function drawHeat(canvas, { samples, seconds, now, format }) {
  const { clientWidth: width, clientHeight: height } = canvas.parentElement;
  const ratio = globalThis.devicePixelRatio ?? 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const frame = { left: LEFT, width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
  const cells = samples.flatMap(({ at, heat }) => heat.map(([from, to, count]) => ({ at, from, to, count })));
  const scale = logScale(cells.flatMap(({ from, to }) => [from, to]), frame);
  const most = Math.max(1, ...cells.map(({ count }) => count));
  const cellWidth = Math.max(1, frame.width / seconds);
  context.fillStyle = style.color;
  for (const { at, from, to, count } of cells) {
    const x = frame.left + (1 - (now - at) / (seconds * 1000)) * frame.width - cellWidth;
    if (x < frame.left - cellWidth) continue;
    // By the logarithm, so that one slow delivery among a million can be seen.
    context.globalAlpha = 0.16 + (0.84 * Math.log1p(count)) / Math.log1p(most);
    const [top, bottom] = [scale.y(to), scale.y(from)];
    context.fillRect(Math.max(frame.left, x), top, cellWidth + 0.3, Math.max(1, bottom - top));
  }
  context.globalAlpha = 1;
  context.fillStyle = style.getPropertyValue('caret-color');
  context.font = `11px ${style.fontFamily}`;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const tick of scale.ticks) context.fillText(format(tick), LEFT - 6, scale.y(tick));
  context.textBaseline = 'alphabetic';
  for (const [place, text, align] of [[0, `${seconds / 60} min ago`, 'left'], [1, 'now', 'right']]) {
    context.textAlign = align;
    context.fillText(text, frame.left + place * frame.width, height - 5);
  }
  return cells.length > 0;
}

/** The value that `share` of all in these buckets do not exceed, or nothing. */
export function quantile(buckets, share) {
  const total = buckets.reduce((sum, [, , count]) => sum + count, 0);
  let seen = 0;
  for (const [, to, count] of buckets) {
    seen += count;
    if (total * share <= seen) return to;
  }
  return null;
}

/** `[nines, value]` of each bucket's end; of the last as many nines as there are deliveries to tell them. */
function spectrumOf(buckets) {
  const total = buckets.reduce((sum, [, , count]) => sum + count, 0);
  const points = [];
  let seen = 0;
  for (const [, to, count] of buckets) {
    seen += count;
    points.push([Math.log10(total / Math.max(total - seen, 1)), to]);
  }
  return points.length === 0 ? [] : [[0, buckets[0][1]], ...points];
}

function frameOf(svg) {
  const { clientWidth, clientHeight } = svg;
  svg.setAttribute('viewBox', `0 0 ${clientWidth} ${clientHeight}`);
  return { left: LEFT, width: Math.max(1, clientWidth - LEFT - RIGHT), height: Math.max(1, clientHeight - TOP - BOTTOM) };
}

function linearScale(values, frame) {
  const top = niceTop(Math.max(1, ...values));
  const y = (value) => TOP + (1 - value / top) * frame.height;
  return { y, ticks: [0, top / 2, top] };
}

/** 1, 2 or 5 times a power of ten. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => value <= step * power * 1.0001);
}

/** From the power of ten below the smallest value to that above the largest. */
function logScale(values, frame) {
  const positive = values.filter((value) => 0 < value);
  const [low, high] = positive.length === 0 ? [1e4, 1e7] : [Math.min(...positive), Math.max(...positive)];
  const from = Math.floor(Math.log10(low));
  const to = Math.max(from + 1, Math.ceil(Math.log10(high)));
  const y = (value) => TOP + (1 - (Math.log10(Math.max(value, 10 ** from)) - from) / (to - from)) * frame.height;
  const ticks = Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  return { y, ticks };
}

function gridOf(frame, scale, format) {
  return scale.ticks.flatMap((tick) => [
    element('path', { class: 'grid', d: `M${frame.left},${scale.y(tick)}H${frame.left + frame.width}` }),
    label(frame.left - 6, scale.y(tick) + 4, format(tick), 'end'),
  ]);
}

function timesOf(frame, seconds) {
  const y = TOP + frame.height + 14;
  return [
    label(frame.left, y, `${seconds / 60} min ago`, 'start'),
    label(frame.left + frame.width, y, 'now', 'end'),
  ];
}

/** A line that is broken where nothing was heard, or nothing happened. */
function pathOf(points, x, y) {
  let path = '';
  let beforeAt = null;
  for (const [at, value] of points) {
    if (value === null) {
      beforeAt = null;
      continue;
    }
    const command = beforeAt !== null && at - beforeAt < HOLE_MS ? 'L' : 'M';
    // A point by itself is seen as a dot.
    path += `${command}${x(at).toFixed(1)},${y(value).toFixed(1)}${command === 'M' ? 'h0.1' : ''}`;
    beforeAt = at;
  }
  return path;
}

function label(x, y, text, anchor) {
  const node = element('text', { x, y, 'text-anchor': anchor });
  node.textContent = text;
  return node;
}

function element(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}

/** What the longest label of a percentile takes, in pixels. */
const LABEL_WIDTH = 66;
/** Two pulses may be this far apart and belong to one line, in milliseconds. */
const HOLE_MS = 2500;
