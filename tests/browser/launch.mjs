// A browser without a screen.

import { chromium } from 'playwright-core';

import { BROWSER_FLAGS, browserPath } from './chromium.mjs';

export function launch(...flags) {
  return chromium.launch({ executablePath: browserPath(), args: [...BROWSER_FLAGS, ...flags] });
}
