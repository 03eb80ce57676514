// The client under test, here or in a browser, and everything it told.

import { connect } from 'fanfare-client';
import { browserPath, BROWSER_FLAGS } from '../../browser/chromium.mjs';
import { chromium } from 'playwright-core';

/** What a feed told, and a way to wait for it. */
class Record {
  items = [];
  opens = 0;
  #wishes = [];

  take(items) {
    for (const item of items) {
      if (item.type === 'open') this.opens += 1;
      else this.items.push(item);
    }
    this.#wishes = this.#wishes.filter(({ isTrue, resolve }) => !isTrue(this.items) || resolve());
  }

  /** Resolves as soon as `isTrue` of the items. */
  until(isTrue) {
    if (isTrue(this.items)) return Promise.resolve();
    return new Promise((resolve) => this.#wishes.push({ isTrue, resolve }));
  }
}

/** Starts a feed of `options` in this process. */
export async function receiveHere(options) {
  const record = new Record();
  const feed = connect(options);
  feed.on('event', (event) => record.take([event]));
  feed.on('gap', (gap) => record.take([gap]));
  await new Promise((resolve) =>
    feed.on('status', ({ state }) => {
      if (state !== 'open') return;
      record.take([{ type: 'open' }]);
      resolve();
    }),
  );
  return { record, stop: () => feed.close() };
}

/** The same in headless Chromium, on a page of the server itself, with the client as the server serves it. */
export async function receiveInChromium(options) {
  const record = new Record();
  const browser = await chromium.launch({ executablePath: browserPath(), args: BROWSER_FLAGS });
  const page = await browser.newPage();
  await page.exposeFunction('report', (items) => record.take(items));
  await page.goto(`${options.url}/favicon.svg`);
  await page.evaluate(async (given) => {
    const { connect: open } = await import('/client.js');
    const feed = open(given);
    const unsent = [];
    let isSending = false;
    const send = async (item) => {
      unsent.push(item);
      if (isSending) return;
      isSending = true;
      while (unsent.length > 0) await window.report(unsent.splice(0));
      isSending = false;
    };
    feed.on('event', send);
    feed.on('gap', send);
    await new Promise((resolve) =>
      feed.on('status', ({ state }) => {
        if (state !== 'open') return;
        send({ type: 'open' });
        resolve();
      }),
    );
  }, options);
  return { record, stop: () => browser.close() };
}
