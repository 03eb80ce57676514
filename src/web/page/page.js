// The demo page: what comes out of `client.js`, made visible.
//
// What arrives is kept in a bounded list (`held`); once per frame what is new of it becomes rows, once per
// second the figures move. Data from the server is only ever written as text.

import { connect } from '/client.js';

const view = Object.fromEntries([...document.querySelectorAll('[id]')].map((element) => [element.id, element]));

const channels = new Set(['repo:**']);
let feed = null;
let cursor = null;
let openedAtMs = 0;

const held = [];
let unshown = 0;
let paused = false;
let frameRequested = false;

const count = { received: 0, replayed: 0, gaps: 0, missed: 0, arrived: 0 };
const latenciesMs = [];
const history = { rate: [], latency: [] };
const kindCounts = new Map();
const published = new Map();

function start() {
  view.transport.addEventListener('change', subscribe);
  view.connection.addEventListener('click', () => (feed === null ? subscribe() : disconnect()));
  view['channels-form'].addEventListener('submit', addChannels);
  view['kind-filter'].addEventListener('input', showAll);
  view.pause.addEventListener('click', togglePause);
  view.clear.addEventListener('click', clear);
  view['publish-form'].addEventListener('submit', publish);
  view['publish-data'].addEventListener('input', checkData);
  setInterval(tick, 1000);
  showChannels();
  subscribe();
}

// Connection

/** Changing transport or channels goes on from the same cursor: nothing lost, nothing twice. */
function subscribe() {
  feed?.close();
  feed = null;
  showProblem(null);
  if (channels.size === 0) return showStatus('closed', 'No channels');
  const transport = document.querySelector('input[name=transport]:checked').value;
  feed = connect({ url: location.origin, channels: [...channels], transport, since: cursor });
  const on = (name, handle) => {
    const source = feed;
    source.addEventListener(name, ({ detail }) => source === feed && handle(detail));
  };
  on('event', takeEvent);
  on('gap', takeGap);
  on('system', (message) => hold({ type: 'system', message }));
  on('cursor', (detail) => (cursor = detail.cursor));
  on('error', showProblem);
  on('status', takeStatus);
  view.connection.textContent = 'Disconnect';
}

function disconnect() {
  feed?.close();
  feed = null;
  view.connection.textContent = 'Connect';
  showStatus('closed', 'Not connected');
}

function takeStatus({ state, attempt, delayMs }) {
  if (state === 'open') {
    openedAtMs = Date.now();
    showProblem(null);
  }
  const texts = {
    connecting: attempt === 0 ? 'Connecting' : `Connecting, try ${attempt + 1}`,
    open: 'Connected',
    waiting: `No connection, next try in ${Math.max(1, Math.round(delayMs / 1000))} s`,
    closed: 'Not connected',
  };
  showStatus(state, texts[state]);
}

function showStatus(state, text) {
  view.status.dataset.state = state;
  view['status-text'].textContent = text;
}

function showProblem(problem) {
  view.problem.hidden = problem === null;
  view.problem.textContent = problem === null ? '' : `${problem.message ?? 'Refused'} (${problem.code ?? 'no code'})`;
}

// Channels

function addChannels(submit) {
  submit.preventDefault();
  const names = view['channel-input'].value.split(',').map((name) => name.trim());
  const together = new Set([...channels, ...names.filter(Boolean)]);
  if (CHANNELS_MAX < together.size) {
    return showProblem({ code: 'too_many_channels', message: `At most ${CHANNELS_MAX} channels` });
  }
  view['channel-input'].value = '';
  changeChannels(() => together.forEach((name) => channels.add(name)));
}

function changeChannels(change) {
  const before = [...channels].join();
  change();
  if ([...channels].join() === before) return;
  showChannels();
  subscribe();
}

function showChannels() {
  view.chips.replaceChildren(...[...channels].map(chip));
  view.hints.replaceChildren(...SUGGESTED_CHANNELS.filter((name) => !channels.has(name)).map(suggestion));
}

function chip(name) {
  const remove = make('button', '', '×');
  remove.type = 'button';
  remove.ariaLabel = `Remove ${name}`;
  remove.addEventListener('click', () => {
    changeChannels(() => channels.delete(name));
    view['channel-input'].focus();
  });
  const item = make('li', 'chip');
  item.append(make('span', '', name), remove);
  return item;
}

function suggestion(name) {
  const button = make('button', '', `+ ${name}`);
  button.type = 'button';
  button.addEventListener('click', () => {
    changeChannels(() => channels.add(name));
    view['channel-input'].focus();
  });
  return button;
}

// Intake

function takeEvent(event) {
  const latencyMs = Date.now() - event.timestamp;
  // What is older than the connection was replayed to it, and says nothing about how fast events travel.
  const replayed = event.timestamp < openedAtMs;
  count.received += 1;
  count.arrived += 1;
  if (replayed) count.replayed += 1;
  else if (latenciesMs.length < LATENCIES_MAX) latenciesMs.push(latencyMs);
  countKind(event.event);
  hold({ type: 'event', event, latencyMs, replayed });
  seeOwn(event.seq);
}

function takeGap(gap) {
  count.gaps += 1;
  count.missed += gap.matched ?? 0;
  // The numbers of another log say nothing about what was published to the old one.
  if (gap.cause === 'epoch') published.clear();
  hold({ type: 'gap', gap });
}

function countKind(kind) {
  if (!kindCounts.has(kind) && kindCounts.size === KINDS_MAX) return;
  kindCounts.set(kind, (kindCounts.get(kind) ?? 0) + 1);
}

function hold(item) {
  item.atMs = Date.now();
  held.push(item);
  // Trimmed in strides: moving the whole list for every event would cost more than the event.
  if (held.length === HELD_MAX * 2) held.splice(0, HELD_MAX);
  unshown += 1;
  if (paused) {
    view.pause.textContent = `Resume (${unshown} new)`;
  } else if (!frameRequested) {
    frameRequested = true;
    requestAnimationFrame(showNew);
  }
}

// Rows

function showNew() {
  frameRequested = false;
  if (paused) return;
  const begin = firstUnshown();
  unshown = 0;
  showRows(held.slice(begin));
}

/** After a change of the filter; while paused, what has not been shown stays so. */
function showAll() {
  view.events.replaceChildren();
  if (!paused) unshown = 0;
  showRows(held.slice(0, firstUnshown()));
}

function firstUnshown() {
  return Math.max(0, held.length - unshown);
}

function showRows(items) {
  const fresh = items.filter(passes).slice(-ROWS_MAX);
  view.events.prepend(...fresh.reverse().map(row));
  while (view.events.childElementCount > ROWS_MAX) view.events.lastElementChild.remove();
  showEmptiness();
}

function showEmptiness() {
  view.empty.hidden = view.events.childElementCount > 0;
  view.empty.textContent =
    held.length > 0 ? 'Nothing held matches the filter.' : 'Waiting for the first event. Publish one, or start a replay.';
}

/** Gaps and announcements concern everyone, whatever the filter. */
function passes(item) {
  return item.type !== 'event' || item.event.event.includes(view['kind-filter'].value.trim());
}

function row(item) {
  return item.type === 'event' ? eventRow(item) : noticeRow(item);
}

function eventRow({ event, latencyMs, replayed, atMs }) {
  const element = view['event-row'].content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector(`.${name}`);
  part('seq').textContent = event.seq;
  part('kind').textContent = event.event;
  part('kind').title = event.event;
  part('kind').classList.add(`of-${family(event.event)}`);
  part('channel').textContent = event.channel;
  part('gist').textContent = gist(event.data);
  const time = element.querySelector('time');
  time.textContent = clockText(replayed ? event.timestamp : atMs);
  time.title = replayed ? 'published then, replayed to this page' : `${latencyMs} ms after acceptance, by both clocks`;
  element.classList.toggle('replayed', replayed);
  element.classList.toggle('mine', published.has(event.seq));
  element.dataset.seq = event.seq;
  // Only a row that is opened pays for its JSON.
  element.querySelector('details').addEventListener('toggle', () => showData(part('data'), event), { once: true });
  return element;
}

function noticeRow(item) {
  const element = view['notice-row'].content.firstElementChild.cloneNode(true);
  const { seq, kind, text } = item.type === 'gap' ? gapTexts(item.gap) : systemTexts(item.message);
  element.classList.toggle('gap', item.type === 'gap');
  element.querySelector('.seq').textContent = seq;
  element.querySelector('.kind').textContent = kind;
  element.querySelector('.what').textContent = text;
  element.querySelector('time').textContent = clockText(item.atMs);
  return element;
}

function gapTexts({ from, to, cause, matched, old }) {
  if (cause === 'epoch') {
    return { seq: '', kind: 'gap: epoch', text: `The log began anew: ${old ?? 'the cursor'} belongs to another one` };
  }
  const reasons = {
    lapped: 'this page was overtaken while it was slow',
    evicted: 'they are older than what is still held',
    skipped: 'left out to catch up with the newest',
  };
  const size = to - from + 1;
  const ofOurs = matched === undefined ? '' : `, ${matched} of them on these channels`;
  const numbers = `${size} ${size === 1 ? 'number' : 'numbers'}${ofOurs}`;
  const text = `${from} to ${to} will not come (${numbers}): ${reasons[cause] ?? cause}`;
  return { seq: '', kind: `gap: ${cause}`, text };
}

function systemTexts({ seq, message }) {
  return { seq: seq ?? '', kind: 'system', text: typeof message === 'string' ? message : JSON.stringify(message) };
}

/** The first member people would call a headline, else the beginning of the JSON. */
function gist(data) {
  if (data === null || typeof data !== 'object') return JSON.stringify(data) ?? '';
  const payload = data.payload ?? data;
  const about = SUBJECTS.map((name) => payload[name]).find((value) => value !== undefined && value !== null) ?? payload;
  const candidates = [...HEADLINES.map((name) => about[name]), payload.description, payload.action];
  const headline = candidates.find((text) => typeof text === 'string' && text !== '') ?? JSON.stringify(data);
  return headline.slice(0, GIST_CHARS_MAX);
}

function family(kind) {
  return FAMILIES.find(([, pattern]) => pattern.test(kind))?.[0] ?? 'other';
}

function showData(element, event) {
  const { data, ...envelope } = event;
  // The cursor is the client's, and not in what the server sent.
  const text = JSON.stringify({ ...envelope, cursor: undefined, data }, null, 2);
  const shown = text.slice(0, DATA_CHARS_MAX);
  const pieces = [];
  let end = 0;
  for (const match of shown.matchAll(JSON_TOKENS)) {
    const [token, member, string] = match;
    pieces.push(shown.slice(end, match.index), make('span', member ? 'member' : string ? 'text' : 'word', token));
    end = match.index + token.length;
  }
  pieces.push(shown.slice(end));
  if (shown.length < text.length) pieces.push(`\n… ${text.length - shown.length} characters more`);
  element.replaceChildren(...pieces);
}

function togglePause() {
  paused = !paused;
  view.pause.ariaPressed = String(paused);
  view.pause.textContent = paused ? 'Resume' : 'Pause';
  if (!paused) showNew();
}

function clear() {
  held.length = 0;
  unshown = 0;
  if (paused) view.pause.textContent = 'Resume';
  showAll();
}

// Figures, once per second

function tick() {
  const latency = median(latenciesMs);
  latenciesMs.length = 0;
  remember(history.rate, count.arrived);
  remember(history.latency, latency ?? history.latency.at(-1) ?? 0);
  view.rate.textContent = grouped(count.arrived);
  count.arrived = 0;
  if (latency !== null) {
    view.latency.textContent = grouped(latency);
    view['latency-note'].textContent = latency < 0 ? 'ms, the clocks differ' : 'ms, by both clocks';
  }
  drawSpark(view['rate-spark'], history.rate);
  drawSpark(view['latency-spark'], history.latency);
  view.received.textContent = grouped(count.received);
  view.replayed.textContent = `${grouped(count.replayed)} of them caught up`;
  view.gaps.textContent = grouped(count.gaps);
  view['gap-figure'].classList.toggle('has-gaps', count.gaps > 0);
  view['gap-note'].textContent =
    count.gaps === 0 ? 'nothing is missing' : `${grouped(count.missed)} events of these channels left out`;
  view.cursor.textContent = cursor ?? 'none yet';
  showTally();
}

function remember(values, value) {
  values.push(value);
  if (values.length > HISTORY_SECONDS) values.shift();
}

function drawSpark(svg, values) {
  const top = Math.max(1, ...values);
  const offset = HISTORY_SECONDS - values.length;
  const point = (value, index) => {
    const x = ((index + offset) / (HISTORY_SECONDS - 1)) * 120;
    return `${x.toFixed(1)},${(31 - (Math.max(0, value) / top) * 27).toFixed(1)}`;
  };
  const line = `M${values.map(point).join('L')}`;
  const startX = ((offset / (HISTORY_SECONDS - 1)) * 120).toFixed(1);
  svg.querySelector('.line').setAttribute('d', line);
  svg.querySelector('.area').setAttribute('d', `${line}L120,32L${startX},32Z`);
}

function showTally() {
  const top = [...kindCounts].sort((a, b) => b[1] - a[1]).slice(0, TALLY_ROWS);
  view['tally-empty'].hidden = top.length > 0;
  // Rows are reused, because replacing them every second would take the focus out of a reader's hands.
  while (view.tally.childElementCount < top.length) view.tally.append(tallyRow());
  top.forEach(([kind, number], index) => {
    const button = view.tally.children[index].firstElementChild;
    button.dataset.kind = kind;
    button.className = `of-${family(kind)}`;
    button.style.setProperty('--share', `${Math.round((number / top[0][1]) * 100)}%`);
    button.children[0].textContent = kind;
    button.children[1].textContent = grouped(number);
  });
  if (view.kinds.childElementCount !== kindCounts.size) {
    view.kinds.replaceChildren(...[...kindCounts.keys()].sort().map((kind) => new Option(kind)));
  }
}

function tallyRow() {
  const button = make('button');
  button.type = 'button';
  button.title = 'Show only these';
  button.append(make('span'), make('code'));
  button.addEventListener('click', () => {
    const filter = view['kind-filter'];
    filter.value = filter.value === button.dataset.kind ? '' : button.dataset.kind;
    showAll();
  });
  const item = make('li');
  item.append(button);
  return item;
}

// Publishing

async function publish(submit) {
  submit.preventDefault();
  if (!checkData()) return view['publish-data'].focus();
  const member = (name, value) => `${JSON.stringify(name)}:${JSON.stringify(value.trim())}`;
  // The data goes as it was typed: the server keeps number texts and member order, so this page does too.
  const names = [member('channel', view['publish-channel'].value), member('event', view['publish-event'].value)];
  const body = `{${names.join()},"data":${view['publish-data'].value}}`;
  showAnswer('', false);
  const startedMs = performance.now();
  try {
    const answer = await fetch('/publish', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const content = await answer.json();
    if (answer.ok) showSequence(content.seq, performance.now() - startedMs);
    else showAnswer(`${content.detail ?? content.title} (${content.code})`, true);
  } catch {
    showAnswer('No answer: whether the event was accepted is unknown.', true);
  }
}

function showSequence(seq, tookMs) {
  const text = `Accepted as ${seq} in ${tookMs.toFixed(1)} ms`;
  if (published.size === PUBLISHED_MAX) published.delete(published.keys().next().value);
  published.set(seq, text);
  showAnswer(`${text}.`, false);
  // The event may well have come back before the answer to its publisher.
  if (held.some((item) => item.type === 'event' && item.event.seq === seq)) seeOwn(seq);
}

function seeOwn(seq) {
  if (!published.has(seq)) return;
  showAnswer(`${published.get(seq)}, and back on this page.`, false);
  view.events.querySelector(`[data-seq="${Number(seq)}"]`)?.classList.add('mine');
}

function checkData() {
  let problem = null;
  try {
    JSON.parse(view['publish-data'].value);
  } catch (error) {
    problem = `Not JSON: ${error.message}`;
  }
  view['data-problem'].hidden = problem === null;
  view['data-problem'].textContent = problem ?? '';
  view['publish-data'].ariaInvalid = problem === null ? null : 'true';
  return problem === null;
}

function showAnswer(text, refused) {
  view.answer.textContent = text;
  view.answer.classList.toggle('refused', refused);
}

// Small helpers

function make(name, className = '', text = '') {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

function median(values) {
  if (values.length === 0) return null;
  return values.sort((a, b) => a - b)[values.length >> 1];
}

function clockText(ms) {
  const date = new Date(ms);
  const two = (number) => String(number).padStart(2, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

function grouped(number) {
  return number.toLocaleString('en-GB');
}

/** Enough to scroll through; the rest is what `/history` is for. */
const ROWS_MAX = 200;
/** What a filter can look back on; between this and twice as much is kept. */
const HELD_MAX = 300;
/** As many as a server lets one client subscribe to by default. */
const CHANNELS_MAX = 100;
const HISTORY_SECONDS = 60;
const LATENCIES_MAX = 10_000;
const KINDS_MAX = 200;
const TALLY_ROWS = 10;
const PUBLISHED_MAX = 100;
const GIST_CHARS_MAX = 160;
const DATA_CHARS_MAX = 65_536;

/** Where the recorded events go, busiest first. */
const SUGGESTED_CHANNELS = [
  'repo:**',
  'repo:Codertocat/Hello-World',
  'org:Octocoders',
  'repo:octo-org/octo-repo',
  'repo:Octocoders/Hello-World',
  'user:*',
];

/** Members of webhook payloads that are what the event is about, and which of their members say it briefly. */
const SUBJECTS = [
  'pull_request',
  'issue',
  'discussion',
  'head_commit',
  'release',
  'workflow_run',
  'workflow_job',
  'check_run',
  'comment',
];
const HEADLINES = ['title', 'message', 'name', 'tag_name', 'body'];

const FAMILIES = [
  ['pull', /^(github\.)?(pr_|pull_request)/],
  ['issue', /^(github\.)?(issue|label|discussion|milestone)/],
  ['build', /^(github\.)?(workflow|check_|status|deployment|page_build)/],
  ['code', /^(github\.)?(push|branch_|tag_|commit|release|package)/],
  ['repo', /^(github\.)?(repo|collaborator|member|team|organization|star|fork)/],
];

/** A member's name, a string, or a number, truth value or null. */
const JSON_TOKENS = /("(?:[^"\\]|\\.)*"(?=:))|("(?:[^"\\]|\\.)*")|\b(?:true|false|null)\b|-?\b\d[\d.eE+-]*/g;

start();
