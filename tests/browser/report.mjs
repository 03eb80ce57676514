// What `loadgen run -o` writes, read by others: the interval log and the percentiles by another implementation of
// HdrHistogram, the page by a browser.
//
//   FANFARE_BIN=<server binary> LOADGEN_BIN=<loadgen binary> node report.mjs
//
// The run has a name that would be a script if it were taken for HTML. The page must show it as text, draw every chart, ask
// nothing of any network, say nothing on the console and fit a phone; so must a page of two runs, and one of servers side by side.
// What the server itself has measured of the run must have as many deliveries, which took no longer.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import hdr from 'hdr-histogram-js';

import { launch } from './launch.mjs';
import { adminAddress, fail, startServer, stopServer } from './server.mjs';

const HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror="document.title=2">';
/** The tags of the log; the reader's word for none. */
const KINDS = { e2e: 'NO TAG', ws: 'ws', sse: 'sse', service: 'service', ack: 'ack', span: 'span', 'send lag': 'send_lag' };
const QUANTILES = { p50_ms: 50, p90_ms: 90, p99_ms: 99, p999_ms: 99.9, p9999_ms: 99.99, max_ms: 100 };
const TOTAL_MS_MAX = 180_000;
const NS_PER_MS = 1e6;

async function main() {
  const limit = setTimeout(() => fail(new Error(`not done after ${TOTAL_MS_MAX} ms`)), TOTAL_MS_MAX);
  const folder = await mkdtemp(join(tmpdir(), 'fanfare-report-'));
  const address = await startServer('127.0.0.1:0');
  const browser = await launch();
  try {
    const load = ['-c', '20', '--transport', 'ws:50,sse:50', '--stages', '50:1s,100:3s', '--warmup', '1s', '--lenient', '--slo', 'p99<60s'];
    await loadgen('run', address, ...load, '-o', folder, '--name', HOSTILE);
    await readHistograms(folder);
    await besideTheServer(folder);
    await lookAt(browser, join(folder, 'report.html'), { charts: 6 });
    const both = join(folder, 'both.html');
    await loadgen('report', folder, folder, '--format', 'html', '--out', both);
    await lookAt(browser, both, { charts: 7 });
    await lookAtServers(browser, folder);
  } finally {
    await browser.close();
    await stopServer();
    await rm(folder, { recursive: true });
    clearTimeout(limit);
  }
  console.log('report: histograms and pages read back as they were written');
}

/** The run, its warm-up included, was all that the server ever had to deliver. */
async function besideTheServer(folder) {
  const result = JSON.parse(await readFile(join(folder, 'result.json'), 'utf8'));
  const inside = await (await fetch(`${adminAddress()}/latency`)).json();
  assert.equal(inside.deliveries.count, result.delivered.total, 'both count the same deliveries');
  const outside = result.latency_ms.find((row) => row.name === 'e2e');
  const p50 = inside.deliveries.p50 / NS_PER_MS;
  assert.ok(p50 <= outside.p50_ms, `the server hands on in ${p50} ms what arrives after ${outside.p50_ms} ms`);
}

/** Two shapes of Fanfare beside the floor, as `benches/report` makes more of them. */
async function lookAtServers(browser, folder) {
  const profiles = fileURLToPath(new URL('../../benches/side-by-side', import.meta.url));
  const entry = (group, options) => ({ name: `${group}: ${HOSTILE}`, group: `${group}: ${HOSTILE}`, a: 'fanfare', b: 'floor-each', options });
  const comparisons = [entry('steady', '--shape steady -c 10 -R 200'), entry('connect', '--shape connect -c 10')];
  const own = { figure: 'cpu_per_delivery', bars: ['cpu_per_delivery>=0.001', 'cpu_per_delivery<=0.001'] };
  Object.assign(comparisons[0], own);
  const suite = join(folder, 'suite.json');
  for (const each of comparisons) [each.a, each.b] = [join(profiles, `${each.a}.json`), join(profiles, `${each.b}.json`)];
  await writeFile(suite, JSON.stringify({ comparisons }));
  const out = join(folder, 'servers');
  const flags = ['--quick', '--unpinned', '--ceiling', '0', '--fanfare', process.env.FANFARE_BIN, '--out', out];
  const ended = await loadgen('side-by-side', '--suite', suite, ...flags).catch((error) => error);
  assert.equal(ended.code, 5, `a bar is missed: ${ended.stderr}`);
  await lookAt(browser, join(out, 'report.html'), { charts: 2, isStill: true });
}

function loadgen(...flags) {
  const binary = process.env.LOADGEN_BIN;
  assert.ok(binary, 'LOADGEN_BIN names no load generator');
  return promisify(execFile)(binary, flags);
}

/** The whole of each kind, put together from its intervals, must have the percentiles that the result states. */
async function readHistograms(folder) {
  const result = JSON.parse(await readFile(join(folder, 'result.json'), 'utf8'));
  const log = await readFile(join(folder, 'latency.hlog'), 'utf8');
  for (const [kind, tag] of Object.entries(KINDS)) {
    const row = result.latency_ms.find((each) => each.name === kind);
    assert.ok(row && 0 < row.count, `the run has measured ${kind}`);
    const whole = readLog(log, tag);
    assert.equal(whole.totalCount, row.count, `records of ${kind}`);
    for (const [name, percentile] of Object.entries(QUANTILES)) {
      const got = whole.getValueAtPercentile(percentile) / NS_PER_MS;
      assert.ok(Math.abs(got - row[name]) < 1e-6, `${kind} ${name}: ${got} was read, and ${row[name]} was stated`);
    }
  }
  comparePercentiles(await readFile(join(folder, 'latency.hgrm'), 'utf8'), readLog(log, KINDS.e2e));
}

function readLog(log, tag) {
  const reader = new hdr.HistogramLogReader(log);
  let whole = null;
  for (let one = reader.nextIntervalHistogram(); one !== null; one = reader.nextIntervalHistogram()) {
    if (one.tag !== tag) continue;
    if (whole === null) whole = one;
    else whole.add(one);
  }
  assert.ok(whole, `the log has lines tagged ${tag}`);
  return whole;
}

/** Line by line what the other implementation writes of the same histogram. */
function comparePercentiles(text, histogram) {
  const lines = (of) => of.split('\n').filter((line) => /^\s*\d/.test(line)).map((line) => line.trim().split(/\s+/));
  const expected = lines(histogram.outputPercentileDistribution(5, NS_PER_MS));
  assert.ok(10 < expected.length, 'there are percentiles');
  assert.deepEqual(lines(text), expected);
}

/** A page that is still has charts that were drawn before, and runs nothing. */
async function lookAt(browser, file, { charts, isStill = false }) {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 390]) {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 800 } });
      const wrong = [];
      page.on('console', (message) => wrong.push(`console: ${message.text()}`));
      page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
      page.on('request', (request) => {
        if (request.url() !== pathToFileURL(file).href) wrong.push(`request: ${request.url()}`);
      });
      await page.goto(pathToFileURL(file).href);
      await page.waitForSelector(`figure svg[role=img] ${isStill ? '.bar' : '.line'}`, { state: 'attached' });
      assert.equal(await page.locator('figure').count(), charts, 'charts');
      assert.equal(await page.locator('img, iframe, object, embed, link').count(), 0, 'nothing of the name has become an element');
      assert.ok((await page.textContent('body')).includes(HOSTILE), 'the name is shown as it is');
      assert.ok(!['taken', '2'].includes(await page.title()), 'nothing of the name has run');
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(overflow, 0, `${width} columns are enough`);
      if (isStill) {
        assert.equal(await page.locator('script').count(), 0, 'it has no script');
      } else {
        await page.locator('figure svg[role=img]').first().press('ArrowRight');
        assert.match(await page.locator('.readout').first().textContent(), /%: .*(ms|µs|s)/, 'arrow keys read a chart');
      }
      assert.deepEqual(wrong, []);
      await page.close();
    }
  }
}

main().catch(fail);
