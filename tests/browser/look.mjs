// How a page is looked at: what it says, what the browser complains about, and where the keyboard gets to.

import assert from 'node:assert/strict';
import { join } from 'node:path';

/** Waits until what `selector` finds has a text like this. */
export async function text(page, selector, pattern) {
  const found = page.locator(selector).filter({ hasText: pattern });
  await found.waitFor().catch(async () => assert.fail(`${selector}: ${await page.locator(selector).textContent()} is not ${pattern}`));
}

/** Collects what the browser says on its console, and what the content policy forbids. */
export async function watch(page) {
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (violation) =>
      window.violations.push(`${violation.violatedDirective}: ${violation.blockedURI}`),
    );
  });
  return complaints;
}

/** There was nothing to complain about. */
export async function assertCalm(page, complaints) {
  assert.deepEqual([...complaints, ...(await page.evaluate(() => window.violations))], []);
}

/**
 * Goes by the tabulator, or another key, from where nothing has the focus until it is at what is named `last`, and returns the names on
 * the way. Wherever it stands must be seen.
 */
export async function walk(page, last, key = 'Tab') {
  await page.evaluate(() => document.activeElement?.blur());
  const walked = [];
  for (let step = 0; step < FOCUS_STEPS_MAX && walked.at(-1) !== last; step += 1) {
    await page.keyboard.press(key);
    const stop = await page.evaluate(() => {
      const at = document.activeElement;
      const place = at.closest('label') ?? at;
      const box = place.getBoundingClientRect();
      // Nothing else lies over it, such as the bar at the top.
      const above = document.elementFromPoint(box.x + box.width / 2, Math.max(0, box.y) + Math.min(box.height, innerHeight) / 2);
      const ring = getComputedStyle(at.matches('.switch input') ? at.nextElementSibling : at);
      const isSeen = 0 < box.width && place.contains(above) && ring.outlineStyle !== 'none';
      return { name: at.ariaLabel ?? at.id ?? '', text: at.textContent.trim().slice(0, 30), kind: at.name ?? '', isSeen };
    });
    walked.push(stop.kind || stop.name || stop.text);
    assert.ok(stop.isSeen, `focus is seen at ${JSON.stringify(stop)}`);
  }
  assert.equal(walked.at(-1), last, `it can be reached: ${walked}`);
  return walked;
}

/** The page fits the window, however narrow. */
export async function assertFits(page) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${wide} pixels do not fit ${room}`);
}

/** Pictures of the whole page on a desk and on a phone, light and dark; none without a folder. */
export async function picture(page, folder, name) {
  if (folder === undefined) return;
  for (const [place, viewport] of Object.entries(PLACES)) {
    await page.setViewportSize(viewport);
    for (const theme of ['Dark', 'Light']) {
      await page.getByRole('radio', { name: theme }).check();
      await page.evaluate(() => scrollTo(0, 0));
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
      await assertFits(page);
      await page.screenshot({ path: join(folder, `${name}-${place}-${theme.toLowerCase()}.png`), fullPage: true });
    }
  }
  await page.setViewportSize(PLACES.desk);
}

/** Desk and phone. */
export const PLACES = { desk: { width: 1360, height: 900 }, phone: { width: 390, height: 844 } };
const FOCUS_STEPS_MAX = 40;
