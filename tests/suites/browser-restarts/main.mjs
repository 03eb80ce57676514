// One page of a real browser, through restarts of the server under load: what its `EventSource`, left to itself, and our
// client over a WebSocket have written down at the end is compared with what the publisher was told.
//
//   FANFARE_BIN=… node tests/suites/browser-restarts/main.mjs
//
// The server is killed and told to end in turn, and started again on the same port, each time as another log. Of every log
// the page must have events from the first without a hole or a repeat; between two of them one gap, whose cause is the
// epoch and which names the last event that came. What was accepted by a server that was told to end must have come.

import { launch } from '../../browser/launch.mjs';
import { CHANNEL, Publisher } from '../../client/endurance/publisher.mjs';
import { Server } from '../../client/endurance/server.mjs';
import { PATIENCE_MS, check, run } from '../support.mjs';
import { listen } from './page.mjs';

const RESTARTS = 10;
/** Events of each log that both receivers have before the next trouble, so that each of them meets every log. */
const EVENTS_LEAST = 25;
/** Soon, but with both ways to come back: at once after a kill, and as the goodbye says. */
const SERVER_FLAGS = ['--retry', '200ms', '--retry-spread', '50ms'];
const RECEIVERS = ['EventSource', 'WebSocket'];

async function suite() {
  const server = new Server(SERVER_FLAGS);
  process.on('exit', () => server.stop());
  await server.start();
  const browser = await launch();
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  // A document of the server, so that the page is of its origin, and one that does nothing by itself.
  await page.goto(`${server.url}/favicon.svg`);
  await page.evaluate(listen, CHANNEL);

  const publisher = new Publisher(server);
  const endings = [];
  publisher.until(Infinity).catch((error) => check(false, error.stack));
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    await bothHave(page, server.epochs.at(-1), EVENTS_LEAST);
    endings.push(restart % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    const end = await server.restart(endings.at(-1));
    check(endings.at(-1) === 'SIGKILL' || end === 0, `told to end, the server exits with ${end}`);
  }
  await bothHave(page, server.epochs.at(-1), EVENTS_LEAST);
  await publisher.until(publisher.answered.size);
  await bothHave(page, server.epochs.at(-1), publisher.newest.seq);
  // It has all come, so it is no loss either.
  endings.push('not at all');

  const record = await page.evaluate(() => window.record);
  const logs = endings.map((ending, index) => ({ ending, epoch: server.epochs[index], accepted: acceptedOf(publisher, index + 1) }));
  const lost = RECEIVERS.map((name) => verify(name, record[name], logs, publisher.unknown));
  publisher.stop();
  await browser.close();
  await server.stop();
  return {
    restarts: `${RESTARTS}, half of them by SIGKILL and half by SIGTERM`,
    accepted: publisher.answered.size,
    'received by EventSource, by WebSocket': RECEIVERS.map((name) => record[name].filter(isEvent).length).join(', '),
    'in gaps of servers that were killed': lost.join(', '),
  };
}

/** Waits until both receivers have the event `seq` of the log `epoch`. */
async function bothHave(page, epoch, seq) {
  const have = ([names, log, least]) =>
    names.every((name) => {
      const last = window.record[name].at(-1);
      if (last?.type === 'closed') return true;
      return last?.type === 'event' && last.cursor.startsWith(`${log}-`) && least <= last.seq;
    });
  await page.waitForFunction(have, [RECEIVERS, epoch, seq]).catch(async (error) => {
    const last = await page.evaluate(() => Object.entries(window.record).map(([name, items]) => [name, items.at(-1)]));
    throw new Error(`waited in vain for ${epoch}-${seq}: ${JSON.stringify(last)}: ${error.message}`);
  });
}

/** What the publisher was told by the server's nth start: the data, by number. */
function acceptedOf(publisher, generation) {
  const entries = [...publisher.answered].map(([place, data]) => [...place.split('-').map(Number), data]);
  return new Map(entries.filter(([of]) => of === generation).map(([, seq, data]) => [seq, data]));
}

/** Checks what `name` has received of the `logs`; returns how many accepted events it was told will not come. */
function verify(name, items, logs, unknown) {
  let at = 0;
  let last = 0;
  let lost = 0;
  for (const item of items) {
    const what = `${name}: ${JSON.stringify(item)} behind ${logs[at].epoch}-${last}`;
    if (isEvent(item)) {
      check(item.seq === last + 1, `out of order: ${what}`);
      check(item.cursor === `${logs[at].epoch}-${item.seq}`, `of another log: ${what}`);
      const { accepted } = logs[at];
      check(accepted.has(item.seq) ? accepted.get(item.seq) === item.data : unknown.has(item.data), `not published: ${what}`);
      last = item.seq;
      continue;
    }
    check(item.type === 'gap', what);
    check(item.cause === 'epoch' && item.from === null && item.to === null, `another gap: ${what}`);
    check(item.old === `${logs[at].epoch}-${last}`, `the gap begins elsewhere: ${what}`);
    const missed = [...logs[at].accepted.keys()].filter((seq) => last < seq).length;
    check(logs[at].ending === 'SIGKILL' || missed === 0, `${missed} of ${logs[at].epoch} were not delivered: ${what}`);
    lost += missed;
    at += 1;
    last = 0;
    check(at < logs.length, `one gap too many: ${what}`);
    check(item.cursor === `${logs[at].epoch}-0`, `the gap ends elsewhere: ${what}`);
  }
  check(at === logs.length - 1, `${name}: ${at} gaps for ${logs.length - 1} restarts`);
  const missed = [...logs[at].accepted.keys()].filter((seq) => last < seq).length;
  check(missed === 0, `${name}: ${missed} of the last log have not come`);
  return lost;
}

function isEvent(item) {
  return item.type === 'event';
}

run(suite);
