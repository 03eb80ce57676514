// The operators' page: pulses of the server, made visible.
//
// A pulse comes once a second and says everything; it is kept, and all that is shown is drawn from what is kept. What the
// server names is only ever written as text.

import { follow } from '/client.js';
import { drawCurve, drawHeat, drawLines, quantile } from '/charts.js';
import { bytes, duration, grouped, percent, short, time } from '/figures.js';
import { History } from '/history.js';
import { LOSSES, POLICIES } from '/words.js';

const view = Object.fromEntries([...document.querySelectorAll('[id]')].map((node) => [node.id, node]));
const history = new History();

/** Kept in memory alone: whoever loads the page again shows it again. */
let token = null;
let feed = null;
let pulse = null;
let isPaused = false;

function start() {
  view.pause.addEventListener('click', togglePause);
  view.window.addEventListener('change', show);
  view.theme.addEventListener('change', () => chooseTheme(document.querySelector('input[name=theme]:checked').value));
  view.signin.addEventListener('submit', signIn);
  addEventListener('resize', () => requestAnimationFrame(show));
  chooseTheme(THEMES.find((theme) => theme === remembered('theme')) ?? 'auto');
  view.losses.replaceChildren(...LOSSES.map(lossRow));
  listen();
}

// The feed

function listen() {
  feed?.close();
  feed = follow({ url: new URL('/stats/events', location), token: () => token, silenceMs: SILENCE_MS, retryMaxMs: RETRY_MS_MAX });
  const source = feed;
  const on = (name, handle) => source.on(name, (detail) => source === feed && handle(detail));
  on('message', takePulse);
  on('status', takeStatus);
  on('error', takeError);
}

function takePulse(next) {
  history.add(next);
  view.signin.hidden = true;
  showStatus(next.draining ? 'draining' : 'open', next.draining ? 'Shutting down' : isPaused ? 'Paused' : 'Live');
  if (isPaused) return;
  pulse = next;
  show();
}

function takeStatus({ state }) {
  // It says so itself once it speaks.
  if (state === 'waiting') showStatus('waiting', pulse === null ? 'No answer yet, trying again' : 'The server is away, trying again');
}

function takeError({ code, message }) {
  const isAboutToken = ['unauthorized', 'invalid_token', 'forbidden', 'invalid_request'].includes(code);
  if (!isAboutToken) return showStatus('waiting', `${message} Trying again`);
  feed.close();
  feed = null;
  showStatus('closed', 'Not signed in');
  view.signin.hidden = false;
  view['signin-problem'].textContent = code === 'unauthorized' && token === null ? '' : message;
  view.token.focus();
}

function signIn(submit) {
  submit.preventDefault();
  token = view.token.value.trim() || null;
  view.token.value = '';
  view['signin-problem'].textContent = '';
  showStatus('connecting', 'Connecting');
  listen();
}

function showStatus(state, text) {
  // Only a change is told to who listens.
  if (view['status-text'].textContent === text) return;
  view.status.dataset.state = state;
  view['status-text'].textContent = text;
}

function togglePause() {
  isPaused = !isPaused;
  view.pause.ariaPressed = String(isPaused);
  view.pause.textContent = isPaused ? 'Go on' : 'Pause';
  if (feed?.state === 'open') showStatus('open', isPaused ? 'Paused' : 'Live');
}

function chooseTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.querySelector(`input[name=theme][value=${theme}]`).checked = true;
  remember('theme', theme);
  show();
}

// Everything, from what is kept

function show() {
  if (pulse === null) return;
  const seconds = Number(document.querySelector('input[name=window]:checked').value);
  const growth = history.growth(seconds);
  view.server.textContent = `${pulse.version} · log ${pulse.epoch}`;
  showFigures();
  showVerdict(growth, seconds);
  showCharts(seconds);
  showSlowest();
  showChannels(seconds);
  showLoops();
  showLog();
  showLosses(growth);
}

function showFigures() {
  const { total, connections, latency, lagging, subscriptions } = pulse;
  const sample = history.window(2).findLast(({ at }) => at <= pulse.at);
  const rate = (value, write) => (value === null || value === undefined ? '–' : write(value));
  view.events.textContent = rate(sample?.events, short);
  view['events-more'].textContent = `${short(total.events)} since start`;
  view.deliveries.textContent = rate(sample?.deliveries, short);
  view['deliveries-more'].textContent = `${short(total.websocket_events + total.sse_events)} since start`;
  view.bytes.textContent = rate(sample?.bytes, bytes);
  view['bytes-more'].textContent = `${bytes(total.bytes)} since start`;
  const { websocket, sse, http, operators } = connections;
  view.connections.textContent = grouped(websocket + sse + http + operators);
  const kinds = [[websocket, 'WebSocket'], [sse, 'SSE'], [http, 'HTTP'], [operators, 'operators']];
  const parts = kinds.filter(([count]) => 0 < count).map(([count, name]) => `${grouped(count)} ${name}`);
  view['connections-more'].textContent = `${parts.join(', ')} · ${grouped(subscriptions)} ${subscriptions === 1 ? 'subscription' : 'subscriptions'}${lagging === 0 ? '' : ` · ${grouped(lagging)} behind`}`;
  const { live, span } = latency;
  view.p99.textContent = live.count === 0 ? '–' : time(live.p99);
  view['p99-more'].textContent = live.count === 0 ? 'no delivery in the last second' : `p50 ${time(live.p50)} · max ${time(live.max)}`;
  view.span.textContent = span.count === 0 ? '–' : time(span.p50);
  view['span-more'].textContent = span.count === 0 ? 'no event was measured in the last second' : `subscriber of one event · max ${time(span.max)}`;
}

function showVerdict(growth, seconds) {
  const happened = LOSSES.filter(([name]) => 0 < growth[name]);
  const faults = happened.filter(([, , level]) => level === 'fault');
  const looks = happened.filter(([, , level]) => level !== 'chosen');
  const stalled = pulse.loops.findIndex(({ stalled_ms: stalledMs }) => 0 < stalledMs);
  const list = (losses) => losses.map(([name, label]) => `${label.toLowerCase()} ${short(growth[name])}`).join(', ');
  const window = `in the last ${duration(seconds * 1000)}`;
  const past = pulse.slowest.filter(isPast).length;
  const behind = `${grouped(pulse.lagging)} ${pulse.lagging === 1 ? 'client is' : 'clients are'} behind`;
  // Only the slowest are known one by one.
  const unknown = pulse.lagging - pulse.slowest.length;
  const ofThem = pulse.lagging === 1 ? '' : past === pulse.lagging ? 'all of them ' : `${0 < unknown ? 'at least ' : ''}${grouped(past)} of them `;
  const verdicts = [
    [0 <= stalled, 'bad', `Loop ${stalled} stands still`, `for ${duration(pulse.loops[stalled]?.stalled_ms ?? 0)}`],
    [0 < faults.length, 'bad', 'Something failed', `${list(faults)} ${window}`],
    [0 < looks.length, 'warn', 'Worth a look', `${list(looks)} ${window}; what that means stands at the end`],
    [0 < past, 'warn', behind, `${ofThem}further than the log goes back, and will be told of a gap on reading again`],
    [0 < pulse.lagging, 'warn', behind, 'and nothing was lost: what they wait for is still held'],
    [true, 'good', 'All is well', `nobody is behind, and nothing was dropped ${window}`],
  ];
  const [, level, title, text] = verdicts.find(([holds]) => holds);
  view.verdict.dataset.level = level;
  view['verdict-title'].textContent = title;
  view['verdict-text'].textContent = text;
}

function showCharts(seconds) {
  const samples = history.window(seconds);
  const now = pulse.at;
  const line = (name, pick) => ({ name, points: samples.map((sample) => [sample.at, pick(sample)]) });
  drawLines(view['events-chart'], { lines: [line('a', ({ events }) => events)], seconds, now, format: short });
  drawLines(view['deliveries-chart'], { lines: [line('b', ({ deliveries }) => deliveries)], seconds, now, format: short });
  const latencies = QUANTILES.map(([name, member]) => line(name, ({ live }) => (live.count === 0 ? null : live[member])));
  latencies.push(line('span', ({ span }) => (span.count === 0 ? null : span.max)));
  drawLines(view['latency-chart'], { lines: latencies, seconds, now, format: time, logarithmic: true });
  const { live, span } = pulse.latency;
  const value = ({ count }, member, of) => (count === 0 ? '–' : time(of[member]));
  const keys = QUANTILES.map(([name, member, text]) => key(name, `${text} ${value(live, member, live)}`));
  view['latency-legend'].replaceChildren(...keys, key('span', `first to last ${value(span, 'max', span)}`));
  const whole = history.buckets(seconds);
  drawCurve(view['curve-chart'], { lines: [{ name: 'a', buckets: whole }, { name: 'b', buckets: history.buckets(10) }], format: time });
  const p = (share) => (whole.length === 0 ? '–' : time(quantile(whole, share)));
  view['curve-chart'].ariaLabel = `Delivery latency by percentile: median ${p(0.5)}, 99 % ${p(0.99)}, 99.9 % ${p(0.999)}`;
  drawHeat(view['heat-chart'], { samples, seconds, now, format: time });
}

function showSlowest() {
  const { slowest, lagging } = pulse;
  view['slowest-count'].textContent = lagging === 0 ? '' : `${grouped(lagging)} behind`;
  const body = view.slowest;
  // Whoever is at one of its buttons must not lose it.
  const isHeld = body.contains(document.activeElement);
  const rows = new Map([...body.children].map((row) => [row.dataset.id, row]));
  const wanted = slowest.map((client) => clientRow(rows.get(client.id) ?? null, client));
  for (const [id, row] of rows) {
    if (slowest.some((client) => client.id === id)) continue;
    if (isHeld && row.contains(document.activeElement)) row.classList.add('gone');
    else row.remove();
  }
  if (isHeld) body.append(...wanted.filter((row) => !row.isConnected));
  else body.replaceChildren(...wanted);
  view['slowest-scroll'].hidden = body.childElementCount === 0;
  view['slowest-empty'].hidden = !view['slowest-scroll'].hidden;
}

function clientRow(row, client) {
  if (row === null) {
    row = make('tr');
    row.dataset.id = client.id;
    row.append(...CLIENT_LABELS.map((label) => labelled(make('td'), label)));
    const act = make('td');
    act.append(disconnectButton(client.id));
    row.append(act);
    [4, 5, 6, 8].forEach((at) => row.children[at].classList.add('number'));
  }
  row.classList.remove('gone');
  const texts = [
    client.id,
    client.user ?? '–',
    client.address ?? '–',
    client.transport === 'websocket' ? 'WebSocket' : 'SSE',
    `${short(client.lag)} events`,
    isPast(client) ? 'longer than the log holds' : client.lag_ms === 0 ? '–' : duration(client.lag_ms),
    client.stalled_ms === 0 ? '–' : duration(client.stalled_ms),
    POLICIES[client.on_slow] ?? client.on_slow,
    grouped(client.gaps),
  ];
  texts.forEach((text, at) => (row.children[at].textContent = text));
  row.title = client.agent ?? '';
  return row;
}

/**
 * What it would get next is gone: it will be told of a gap, if it is of its channels. What has only left the window may still be held for
 * those who are connected, and then has an age.
 */
function isPast(client) {
  return client.cursor + 1 < pulse.log.oldest && client.lag_ms === 0;
}

/** It has to be pressed twice. */
function disconnectButton(id) {
  const button = make('button', 'small', 'Disconnect');
  button.type = 'button';
  button.ariaLabel = `Disconnect ${id}`;
  let patience = null;
  const calm = () => {
    clearTimeout(patience);
    patience = null;
    button.textContent = 'Disconnect';
    button.ariaLabel = `Disconnect ${id}`;
  };
  button.addEventListener('click', () => {
    if (patience === null) {
      button.textContent = 'Sure?';
      button.ariaLabel = `Press again to disconnect ${id}`;
      patience = setTimeout(calm, SURE_MS);
    } else {
      calm();
      disconnect(id);
    }
  });
  return button;
}

async function disconnect(id) {
  const problem = view['slowest-problem'];
  problem.textContent = '';
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  try {
    const answer = await fetch(`/clients/${encodeURIComponent(id)}`, { method: 'DELETE', headers });
    const content = await answer.json();
    if (!answer.ok) problem.textContent = `${id}: ${content.detail ?? content.title}`;
  } catch {
    problem.textContent = `${id}: no answer; whether it was disconnected is unknown.`;
  }
}

function showChannels(seconds) {
  const { channels, total } = history.channels(seconds);
  view['channels-empty'].hidden = channels.length > 0;
  view['channels-count'].textContent = `${grouped(pulse.log.channels)} in the log`;
  const bars = channels.slice(0, CHANNELS_MAX).map(([name, count]) => ({ name, share: count / total, text: `${short(count)} · ${percent(count / total)}` }));
  showBars(view.channels, bars);
}

function showLoops() {
  const bars = pulse.loops.map(({ busy, lag_events: lag, behind_ms: behindMs, stalled_ms: stalledMs, delivered }, index) => {
    const late = 0 < stalledMs ? ` · stands still for ${duration(stalledMs)}` : 0 < lag ? ` · ${short(lag)} events, ${behindMs} ms behind` : '';
    const level = 0 < stalledMs ? 'bad' : 0.9 <= busy ? 'warn' : '';
    return { name: `loop ${index}`, share: busy ?? 0, text: `${busy === null ? '–' : percent(busy)} · ${short(delivered)} delivered${late}`, level };
  });
  showBars(view.loops, bars);
}

function showLog() {
  const { oldest, newest, events, events_max: eventsMax, bytes: held, bytes_max: bytesMax, age_ms: ageMs, age_max_ms: ageMax } = pulse.log;
  view['log-note'].textContent =
    events === 0
      ? 'Empty.'
      : `Holds numbers ${grouped(oldest)} to ${grouped(newest)}: ${oldest === 1 ? 'nothing has left it yet.' : `a client that comes back within ${duration(ageMs)} misses nothing.`}`;
  const bars = [
    { name: 'events', share: events / Math.max(1, eventsMax), text: `${grouped(events)} of ${grouped(eventsMax)}` },
    { name: 'bytes', share: held / Math.max(1, bytesMax), text: `${bytes(held)} of ${bytes(bytesMax)}` },
  ];
  const age = ageMax === null ? { share: 0, text: `${duration(ageMs)}, no bound` } : { share: ageMs / ageMax, text: `${duration(ageMs)} of ${duration(ageMax)}` };
  showBars(view.log, [...bars, { name: 'age', ...age }]);
}

function showLosses(growth) {
  LOSSES.forEach(([name, , level], at) => {
    const row = view.losses.children[at];
    row.children[1].textContent = grouped(growth[name] ?? 0);
    row.children[2].textContent = grouped(pulse.total[name]);
    row.dataset.level = 0 < growth[name] ? level : 0 < pulse.total[name] ? 'past' : 'none';
  });
}

function lossRow([name, label, , meaning]) {
  const row = make('tr');
  row.dataset.name = name;
  const head = make('th', '', label);
  head.scope = 'row';
  row.append(head, make('td', 'number', '–'), make('td', 'number', '–'), make('td', 'meaning', meaning));
  return row;
}

/** Rows are used again, each `{ name, share, text, level }`. */
function showBars(list, bars) {
  while (list.childElementCount < bars.length) {
    const item = make('li');
    item.append(make('span', 'what'), make('span', 'value'));
    list.append(item);
  }
  while (bars.length < list.childElementCount) list.lastElementChild.remove();
  bars.forEach(({ name, share, text, level = '' }, at) => {
    const item = list.children[at];
    item.style.setProperty('--share', `${(Math.min(1, share) * 100).toFixed(1)}%`);
    item.dataset.level = level;
    item.children[0].textContent = name;
    item.children[0].title = name;
    item.children[1].textContent = text;
  });
}

// Small helpers

function key(name, text) {
  return make('span', `key ${name}`, text);
}

/** The name of a table's column, where a phone shows no head of the table. */
function labelled(cell, label) {
  cell.dataset.label = label;
  return cell;
}

function make(name, className = '', text = '') {
  const node = document.createElement(name);
  if (className !== '') node.className = className;
  node.textContent = text;
  return node;
}

/** Browsers may refuse to remember anything. */
function remembered(name) {
  try {
    return localStorage.getItem(`fanfare.${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`fanfare.${name}`, value);
  } catch {
    // Then it is chosen again.
  }
}

/** Line, member of the pulse, and what people call it. */
const QUANTILES = [
  ['p50', 'p50', 'p50'],
  ['p99', 'p99', 'p99'],
  ['p999', 'p999', 'p99.9'],
  ['max', 'max', 'max'],
];
/** As in the head of the table. */
const CLIENT_LABELS = ['Client', 'User', 'Address', 'Over', 'Behind', 'Behind for', 'Takes nothing for', 'When slow', 'Gaps'];
const THEMES = ['auto', 'light', 'dark'];
/** A pulse comes each second. */
const SILENCE_MS = 5000;
const RETRY_MS_MAX = 3000;
const SURE_MS = 4000;
const CHANNELS_MAX = 10;

start();
