// A browser without a screen, for those who have no package of their own.

import { chromium } from 'playwright-core';

import { BROWSER_FLAGS, browserPath } from './chromium.mjs';

export function launch() {
  return chromium.launch({ executablePath: browserPath(), args: BROWSER_FLAGS });
}
