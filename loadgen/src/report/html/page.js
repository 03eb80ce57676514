// Draws the charts of the page from the data that it holds. Text from outside becomes text nodes, never HTML.
(() => {
  'use strict';

  const data = JSON.parse(document.getElementById('data').textContent);
  const runs = data.runs;
  const several = 1 < runs.length;
  const place = document.getElementById('charts');
  const redraws = [];

  function main() {
    const kinds = kindNames();
    if (several) comparePercentiles(kinds);
    else if (kinds.length) percentiles(runs[0]);
    const timed = runs.filter((run) => run.intervals.length);
    if (timed.length) {
      if (timed.some((run) => run.intervals.some((each) => each.p99 !== null))) latencyOverTime(timed);
      for (const run of timed) heatMap(run, timed);
      throughput(timed, 'delivered', 'Deliveries over time', 'deliveries a second, to all subscribers together');
      throughput(timed, 'published', 'Publishing over time', 'events accepted a second');
      openOverTime(timed);
      generator(timed);
    }
    watchWidth();
  }

  // The charts

  function percentiles(run) {
    const hidden = new Set(['handshake', 'reconnect', 'resumed', 'send lag', 'service']);
    // Where there is one transport, its curve lies under that of both.
    const transports = run.curves.filter((curve) => curve.name === 'ws' || curve.name === 'sse');
    const curves = run.curves.filter((curve) => 1 < transports.length || !transports.includes(curve));
    lineChart({
      title: 'Latency by percentile',
      hint: 'How long the slowest records took: each step to the right is ten times rarer. Flat is good.',
      wide: true,
      series: curves.map((curve) => ({ name: curve.name, hidden: hidden.has(curve.name), points: percentilePoints(curve) })),
      x: percentileAxis,
      y: { log: true, unit: 'ms' },
    });
  }

  function comparePercentiles(kinds) {
    if (!kinds.length) return;
    const select = element('select');
    for (const name of kinds) select.append(element('option', { value: name }, name));
    const series = () => runs.map((run) => {
      const curve = run.curves.find((each) => each.name === select.value);
      return { name: run.label, points: curve ? percentilePoints(curve) : [] };
    });
    const chart = lineChart({
      title: 'Latency by percentile',
      hint: 'How long the slowest records took: each step to the right is ten times rarer. Flat and low is good.',
      wide: true,
      series: series(),
      x: percentileAxis,
      y: { log: true, unit: 'ms' },
      control: element('label', {}, 'latency: ', select),
    });
    select.addEventListener('change', () => chart.change(series()));
  }

  function latencyOverTime(timed) {
    const points = (run, key) => run.intervals
      .filter((each) => each[key] !== null)
      .map((each) => [middle(each), each[key]]);
    const series = several
      ? timed.map((run) => ({ name: `${run.label} p99`, points: points(run, 'p99') }))
      : [
          { name: 'max', points: points(timed[0], 'max') },
          { name: 'p99', points: points(timed[0], 'p99') },
          { name: 'p50', points: points(timed[0], 'p50') },
          { name: 'span p99', hidden: true, points: points(timed[0], 'span') },
        ].filter((each) => each.points.length);
    timeChart(timed, {
      title: 'Latency over time',
      hint: several ? 'End to end, p99 of each interval.' : 'End to end, of each interval.',
      wide: true,
      series,
      y: { log: true, unit: 'ms' },
    });
  }

  function throughput(timed, key, title, hint) {
    if (timed.every((run) => run.intervals.every((each) => each[key] === 0))) return;
    const rates = [...new Set(timed.map((run) => run.rate))];
    const changing = key === 'published' && !several && timed[0].stages;
    const asked = changing ? [{ name: 'asked for', points: until(timed[0].stages, timed[0].intervals.at(-1)) }] : [];
    const mark = key === 'published' && rates.length === 1 && rates[0] !== null ? [{ y: rates[0], label: 'asked for' }] : [];
    timeChart(timed, {
      title,
      hint: `${hint[0].toUpperCase()}${hint.slice(1)}.`,
      series: timed.map((run) => ({ name: several ? run.label : key, points: steps(run, key) })).concat(asked),
      marks: mark,
      y: { zero: true, unit: '/s' },
    });
  }

  function openOverTime(timed) {
    const changes = (run) => run.intervals.some((each) => each.open !== run.subscribers || each.closed || each.gaps);
    if (!timed.some((run) => run.hold || changes(run))) return;
    const of = (run, name, key) => ({ name: several ? `${run.label} ${name}` : name, points: steps(run, key) });
    timeChart(timed, {
      title: 'Connections over time',
      hint: 'Open at the end of each interval; closed by the server and gaps told within it.',
      series: timed.flatMap((run) => [
        of(run, 'open', 'open'),
        ...(run.intervals.some((each) => each.closed) ? [of(run, 'closed', 'closed')] : []),
        ...(run.intervals.some((each) => each.gaps) ? [of(run, 'gaps', 'gaps')] : []),
      ]),
      y: { zero: true, unit: '' },
    });
  }

  function generator(timed) {
    timeChart(timed, {
      title: 'The generator itself',
      hint: 'Share of a processor that its busiest thread used. Near 100 % it measures itself and not the server.',
      series: timed.map((run) => ({
        name: several ? run.label : 'busiest thread',
        points: steps(run, 'cpu').map(([x, y]) => [x, y * 100]),
      })),
      marks: [{ y: 90, label: 'too busy' }],
      y: { zero: true, unit: ' %', least: 100 },
    });
  }

  // Charts of lines

  function timeChart(timed, chart) {
    const all = timed.flatMap((run) => run.intervals);
    const from = Math.min(...all.map((each) => each.from));
    const to = Math.max(...all.map((each) => each.from + each.length));
    const phases = several ? [] : phasesOf(timed[0].intervals);
    lineChart({ ...chart, phases, x: { from, to, ticks: timeTicks, text: (x) => `${trim(x)} s`, label: 'seconds since measuring began' } });
  }

  function lineChart(chart) {
    chart.series.forEach((each, index) => { each.style = index; });
    const readout = element('p', { class: 'readout' });
    const image = svg('svg', { role: 'img', tabindex: '0', 'aria-label': describe(chart) });
    const legend = element('div', { class: 'legend' });
    const figure = element('figure', chart.wide ? { class: 'wide' } : {},
      element('h2', {}, chart.title), element('p', { class: 'hint' }, chart.hint), chart.control ?? '', legend, image, readout);
    place.append(figure);

    const draw = () => {
      legend.replaceChildren(...(1 < chart.series.length ? chart.series.map((each) => legendEntry(each, draw)) : []));
      const frame = layOut(image, chart);
      drawAxes(image, frame, chart);
      const shown = chart.series.filter((each) => !each.hidden && each.points.length);
      for (const each of shown) {
        const path = each.points.map(([x, y], index) => `${index ? 'L' : 'M'}${round(frame.x(x))} ${round(frame.y(y))}`);
        const dense = frame.width / 4 < each.points.length;
        image.append(svg('path', { class: dense ? 'line dense' : 'line', d: path.join(''), ...stroke(each.style) }, svg('title', {}, each.name)));
      }
      pointAt(image, frame, readout, (at) => readLines(frame, chart, shown, at));
    };
    redraws.push(draw);
    return {
      change(series) {
        chart.series = series;
        chart.series.forEach((each, index) => { each.style = index; });
        draw();
      },
    };
  }

  function legendEntry(each, draw) {
    const sample = svg('svg', { viewBox: '0 0 30 10', 'aria-hidden': 'true' },
      svg('path', { class: 'line', d: 'M0 5L30 5', ...stroke(each.style) }));
    const box = element('input', { type: 'checkbox' });
    box.checked = !each.hidden;
    box.addEventListener('change', () => {
      each.hidden = !box.checked;
      const index = [...box.closest('.legend').querySelectorAll('input')].indexOf(box);
      const legend = box.closest('.legend');
      draw();
      legend.querySelectorAll('input')[index].focus();
    });
    return element('label', {}, box, sample, each.name);
  }

  /** Sizes, and where a value lies. */
  function layOut(image, chart) {
    const width = Math.max(260, Math.round(image.parentElement.clientWidth));
    const height = Math.round(Math.min(chart.wide ? 340 : 240, Math.max(190, width * 0.55)));
    const shown = chart.series.filter((each) => !each.hidden);
    const points = shown.flatMap((each) => each.points);
    const scale = valueScale(chart.y, points.map(([, y]) => y).concat((chart.marks ?? []).map((mark) => mark.y)));
    const texts = scale.ticks.map((tick) => valueText(tick, chart.y.unit));
    const left = 14 + Math.max(...texts.map((text) => text.length)) * 6.8;
    const [top, right, bottom] = [14, 14, 40];
    const last = Math.max(...points.map(([x]) => x), 1);
    const [from, to] = chart.x === percentileAxis ? [0, Math.max(2, Math.ceil(last * 2) / 2)] : [chart.x.from, chart.x.to];
    image.replaceChildren();
    image.setAttribute('viewBox', `0 0 ${width} ${height}`);
    return {
      left, top, right: width - right, bottom: height - bottom, width, height, from, to, scale, texts,
      x: (value) => left + ((value - from) / ((to - from) || 1)) * (width - right - left),
      y: (value) => height - bottom - scale.part(value) * (height - bottom - top),
    };
  }

  function drawAxes(image, frame, chart) {
    for (const phase of chart.phases ?? []) {
      const [x0, x1] = [frame.x(Math.max(phase.from, frame.from)), frame.x(Math.min(phase.to, frame.to))];
      image.append(svg('rect', { class: 'phase', x: x0, y: frame.top, width: Math.max(0, x1 - x0), height: frame.bottom - frame.top }));
    }
    frame.scale.ticks.forEach((tick, index) => {
      const y = frame.y(tick);
      image.append(svg('line', { class: 'grid', x1: frame.left, x2: frame.right, y1: y, y2: y }));
      image.append(svg('text', { x: frame.left - 8, y: y + 4, 'text-anchor': 'end' }, frame.texts[index]));
    });
    for (const phase of chart.phases ?? []) {
      const x = frame.x(Math.max(phase.from, frame.from));
      const room = frame.x(Math.min(phase.to, frame.to)) - x;
      if (phase.name.length * 6.5 < room) image.append(svg('text', { x: x + 4, y: frame.bottom - 6 }, phase.name));
    }
    image.append(svg('line', { class: 'axis', x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }));
    let free = -Infinity;
    for (const [value, text] of chart.x.ticks(frame.from, frame.to, (frame.right - frame.left) / 64)) {
      const x = frame.x(value);
      image.append(svg('line', { class: 'axis', x1: x, x2: x, y1: frame.bottom, y2: frame.bottom + 5 }));
      const half = text.length * 3.4;
      if (free < x - half && x + half <= frame.width + 2) {
        image.append(svg('text', { x, y: frame.bottom + 18, 'text-anchor': 'middle' }, text));
        free = x + half + 4;
      }
    }
    image.append(svg('text', { x: (frame.left + frame.right) / 2, y: frame.height - 4, 'text-anchor': 'middle' }, chart.x.label));
    for (const mark of chart.marks ?? []) {
      const y = frame.y(mark.y);
      image.append(svg('line', { class: 'mark', x1: frame.left, x2: frame.right, y1: y, y2: y }));
      image.append(svg('text', { x: frame.right, y: y - 4, 'text-anchor': 'end' }, mark.label));
    }
  }

  /** What all lines say at one place; they may be in steps, so the nearest point counts. */
  function readLines(frame, chart, shown, at) {
    const texts = shown.map((each) => {
      const near = each.points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));
      return `${each.name} ${valueText(near[1], chart.y.unit)}`;
    });
    return `${chart.x.text(at)}: ${texts.join(' · ')}`;
  }

  // The heat map

  function heatMap(run, timed) {
    const held = run.intervals.filter((each) => each.bands !== null && each.bands.length);
    if (!held.length) return;
    const bandsOf = (each) => each.bands.map(([band]) => band);
    const bands = timed.flatMap((each) => each.intervals).filter((each) => each.bands !== null).flatMap(bandsOf);
    const [lowest, highest] = [Math.min(...bands), Math.max(...bands) + 1];
    const edge = (band) => 10 ** (band / data.bandsPerDecade) / 1000;
    const chart = {
      title: several ? `Latency, all of it: ${run.label}` : 'Latency, all of it',
      hint: 'Every record: the darker, the more had this latency at this time. Two bands are two kinds of delivery; a wall is a stall.',
      wide: !several,
      series: [{ points: [[0, edge(lowest)], [0, edge(highest)]] }],
      x: {
        from: run.intervals[0].from,
        to: run.intervals.at(-1).from + run.intervals.at(-1).length,
        ticks: timeTicks,
        text: (x) => `${trim(x)} s`,
        label: 'seconds since measuring began',
      },
      phases: phasesOf(run.intervals),
      y: { log: true, unit: 'ms', exact: true },
    };
    const image = svg('svg', { role: 'img', tabindex: '0', 'aria-label': `${chart.title}. ${chart.hint} The table of intervals has its figures.` });
    const readout = element('p', { class: 'readout' });
    const scale = element('p', { class: 'scale' }, 'fewer');
    for (const share of [0.12, 0.34, 0.56, 0.78, 1]) {
      const box = element('i');
      box.style.opacity = share;
      scale.append(box);
    }
    scale.append('more');
    place.append(element('figure', chart.wide ? { class: 'wide' } : {},
      element('h2', {}, chart.title), element('p', { class: 'hint' }, chart.hint), scale, image, readout));

    redraws.push(() => {
      const frame = layOut(image, chart);
      drawAxes(image, frame, chart);
      const columns = mergeColumns(held, frame);
      const most = Math.max(...columns.flatMap((column) => [...column.counts.values()]));
      for (const column of columns) {
        const [x0, x1] = [frame.x(column.from), frame.x(column.to)];
        for (const [band, count] of column.counts) {
          const [y0, y1] = [frame.y(edge(band + 1)), frame.y(edge(band))];
          const opacity = most === 1 ? 1 : 0.12 + 0.88 * (Math.log(count) / Math.log(most));
          image.append(svg('rect', {
            class: 'cell', x: round(x0), y: round(y0), width: round(Math.max(1, x1 - x0 - 0.5)), height: round(y1 - y0), 'fill-opacity': opacity.toFixed(3),
          }));
        }
      }
      pointAt(image, frame, readout, (at, value) => {
        const column = columns.find((each) => each.from <= at && at < each.to);
        if (!column) return `${trim(at)} s: nothing`;
        const band = value && Math.floor(Math.log10(value * 1000) * data.bandsPerDecade + 1e-9);
        const within = value ? ` · ${valueText(edge(band), 'ms')} to ${valueText(edge(band + 1), 'ms')}: ${group(column.counts.get(band) ?? 0)}` : '';
        return `${trim(column.from)} to ${trim(column.to)} s: ${group([...column.counts.values()].reduce((a, b) => a + b))} records${within}`;
      });
    });
  }

  /** Neighbours become one column where there is no room for each. */
  function mergeColumns(held, frame) {
    const columns = [];
    for (const each of held) {
      const last = columns.at(-1);
      const merge = last && frame.x(last.to) - frame.x(last.from) < 2.5;
      const column = merge ? last : { from: each.from, to: each.from, counts: new Map() };
      if (!merge) columns.push(column);
      column.to = each.from + each.length;
      for (const [band, count] of each.bands) column.counts.set(band, (column.counts.get(band) ?? 0) + count);
    }
    return columns;
  }

  // Pointing at a chart, by pointer or by arrow keys

  function pointAt(image, frame, readout, read) {
    const line = svg('line', { class: 'cursor', y1: frame.top, y2: frame.bottom, visibility: 'hidden' });
    image.append(line);
    let at = frame.from;
    const show = (x, y) => {
      at = Math.min(frame.to, Math.max(frame.from, x));
      line.setAttribute('x1', frame.x(at));
      line.setAttribute('x2', frame.x(at));
      line.setAttribute('visibility', 'visible');
      readout.textContent = read(at, y);
    };
    image.onpointermove = (event) => {
      const box = image.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * frame.width;
      const y = ((event.clientY - box.top) / box.height) * frame.height;
      const part = (frame.bottom - y) / (frame.bottom - frame.top);
      show(frame.from + ((x - frame.left) / (frame.right - frame.left)) * (frame.to - frame.from), frame.scale.value(part));
    };
    image.onpointerleave = () => {
      line.setAttribute('visibility', 'hidden');
      readout.textContent = '';
    };
    image.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      readout.setAttribute('aria-live', 'polite');
      show(at + (step * (frame.to - frame.from)) / 50);
    };
  }

  // Axes

  /** Where the quantile `1 - 10^-n` stands at n, so that each step is ten times rarer. */
  const percentileAxis = {
    label: 'percentile',
    ticks: (from, to, room) => {
      const ticks = [];
      const half = (to - from) * 2 <= room;
      for (let at = 0; at <= to + 1e-9; at += 1) {
        ticks.push([at, percentText(at)]);
        if (half && at === 0) ticks.push([Math.log10(2), '50 %']);
      }
      return ticks;
    },
    text: (at) => percentText(at),
  };

  function percentText(at) {
    if (at <= 0) return '0 %';
    const left = 10 ** -at * 100;
    const digits = Math.max(0, Math.ceil(at - 2 - 1e-9)) + (Number.isInteger(at) ? 0 : 1);
    return `${(100 - left).toFixed(digits)} %`;
  }

  function percentilePoints(curve) {
    const points = curve.points.filter(([quantile]) => quantile < 1).map(([quantile, ms]) => [-Math.log10(1 - quantile), ms]);
    const last = curve.points.at(-1);
    // The maximum stands behind the last step that can be told apart.
    if (last && points.length) points.push([points.at(-1)[0] + 0.08, last[1]]);
    return points;
  }

  function timeTicks(from, to, room) {
    const step = niceStep((to - from) / Math.max(2, Math.min(10, room)));
    const ticks = [];
    for (let at = Math.ceil(from / step - 1e-9) * step; at <= to + 1e-9; at += step) ticks.push([at, trim(at)]);
    return ticks;
  }

  /** A scale of values: its ticks, which part of the height a value has, and back. */
  function valueScale(y, values) {
    const known = values.filter((value) => Number.isFinite(value));
    let high = Math.max(...known, y.least ?? 0);
    if (!y.log) {
      if (!(0 < high)) high = 1;
      const step = niceStep(high / 4);
      const top = Math.ceil(high / step - 1e-9) * step;
      const ticks = [];
      for (let at = 0; at <= top + step / 1e6; at += step) ticks.push(at);
      return { ticks, part: (value) => value / top, value: (part) => part * top };
    }
    const positive = known.filter((value) => 0 < value);
    let low = positive.length ? Math.min(...positive) : 0.001;
    high = positive.length ? Math.max(...positive) : 1;
    if (!y.exact) [low, high] = [roundLog(low, Math.floor), roundLog(high * 1.0001, Math.ceil)];
    if (!(low < high)) high = low * 10;
    const [from, to] = [Math.log10(low), Math.log10(high)];
    const factors = to - from < 1.6 ? [1, 2, 5] : to - from < 3.2 ? [1, 3] : [1];
    const ticks = [];
    for (let power = Math.floor(from); power <= to; power += 1) {
      for (const factor of factors) {
        const tick = factor * 10 ** power;
        if (low * 0.999 <= tick && tick <= high * 1.001) ticks.push(tick);
      }
    }
    if (ticks.length < 2) ticks.push(low, high);
    const part = (value) => (Math.log10(Math.max(value, low)) - from) / (to - from);
    return { ticks, part, value: (share) => 10 ** (from + share * (to - from)) };
  }

  /** To 1, 2 or 5 times a power of ten. */
  function roundLog(value, towards) {
    const power = 10 ** Math.floor(Math.log10(value));
    const steps = [1, 2, 5, 10].map((factor) => factor * power);
    return towards === Math.floor ? steps.filter((step) => step <= value * 1.0001).at(-1) : steps.find((step) => value <= step * 1.0001);
  }

  function niceStep(rough) {
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => rough <= step * 1.0001);
  }

  // Small things

  function kindNames() {
    return [...new Set(runs.flatMap((run) => run.curves.map((curve) => curve.name)))];
  }

  function phasesOf(intervals) {
    const phases = [];
    for (const { phase, from, length } of intervals) {
      if (phases.at(-1)?.name === phase) phases.at(-1).to = from + length;
      else phases.push({ name: phase, from, to: from + length });
    }
    return phases.filter((phase) => phase.name !== 'measured');
  }

  /** A line in steps: an interval has one value from its beginning to its end. What is a moment has none. */
  function steps(run, key) {
    const long = Math.max(...run.intervals.map((each) => each.length));
    return run.intervals
      .filter((each) => long * 0.2 <= each.length)
      .flatMap((each) => [[each.from, each[key]], [each.from + each.length, each[key]]]);
  }

  /** The corners of a line up to the end of an interval. */
  function until(points, { from, length }) {
    const end = from + length;
    const within = points.filter(([x]) => x <= end);
    const [next, last] = [points[within.length], within.at(-1)];
    if (next && last) within.push([end, last[1] + ((next[1] - last[1]) * (end - last[0])) / (next[0] - last[0])]);
    return within;
  }

  const middle = (each) => each.from + each.length / 2;
  const round = (value) => Math.round(value * 10) / 10;
  const trim = (value) => String(Number(value.toFixed(Math.abs(value) < 10 ? 1 : 0)));
  const group = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');

  function valueText(value, unit) {
    if (unit === 'ms') return value < 1 ? `${Number((value * 1000).toPrecision(3))} µs` : value < 1000 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`;
    const sized = 1e6 <= value ? `${Number((value / 1e6).toPrecision(3))} M` : 1e4 <= value ? `${Number((value / 1e3).toPrecision(3))} k` : group(value);
    return sized + unit;
  }

  /** Colours, and dashes for those who cannot tell the colours apart. */
  function stroke(index) {
    const dashes = ['', '7 3', '2 3', '9 3 2 3', '4 4', '12 4', '1 4', '6 2 1 2 1 2'];
    const style = { stroke: `var(--s${index % 8})` };
    return dashes[index % 8] ? { ...style, 'stroke-dasharray': dashes[index % 8] } : style;
  }

  function describe(chart) {
    return `${chart.title}. ${chart.hint} The tables have the same figures; arrow keys read the chart from left to right.`;
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function svg(name, attributes = {}, ...children) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function watchWidth() {
    let drawn = 0;
    const drawAll = () => {
      drawn = place.clientWidth;
      redraws.forEach((draw) => draw());
    };
    drawAll();
    new ResizeObserver(() => {
      if (place.clientWidth !== drawn) requestAnimationFrame(drawAll);
    }).observe(place);
  }

  main();
})();
