// A browser with one person's settings, which can reach nothing but the server.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.BROWSER_MODULES, 'package.json'));
const { chromium } = require('playwright-core');
const AXE = require.resolve('axe-core/axe.min.js');

export const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
  '--disable-default-apps', '--disable-sync', '--no-first-run', '--disable-dev-shm-usage',
];

export async function browser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: 120_000 });
}

// Opens a tab of its own. Every request is watched: none may go to another origin, and no URL may hold a secret.
export class Person {
  static secrets = new Set();
  static addresses = [];
  static faults = [];

  static async come(from, { origins, width = 1280, height = 900, dark = false, script = true, still = false }) {
    const context = await from.newContext({
      viewport: { width, height },
      colorScheme: dark ? 'dark' : 'light',
      javaScriptEnabled: script,
      reducedMotion: still ? 'reduce' : 'no-preference',
      timezoneId: 'Pacific/Auckland',
      locale: 'en-NZ',
      acceptDownloads: true,
    });
    await context.grantPermissions(['clipboard-read', 'clipboard-write']).catch(() => {});
    await context.route('**/*', (route) => {
      const url = route.request().url();
      Person.addresses.push(url);
      // With ASSETS=folder, scripts and styles come from there: to work on them without building.
      const own = process.env.ASSETS && url.match(/\/dashboard\/([a-z]+\.(?:js|css))$/);
      if (own) return route.fulfill({ path: path.join(process.env.ASSETS, own[1]) });
      if (origins.some((origin) => url.startsWith(`${origin}/`))) return route.continue();
      Person.faults.push(`a request left the origin: ${url}`);
      return route.abort();
    });
    const page = await context.newPage();
    page.setDefaultTimeout(90_000);
    page.on('pageerror', (error) => Person.faults.push(`a script failed: ${error.message}`));
    page.on('console', (message) => {
      const text = message.text();
      if (/Content.Security.Policy|Refused to/i.test(text)) Person.faults.push(text);
    });
    return new Person(context, page, width, dark);
  }

  constructor(context, page, width, dark) {
    Object.assign(this, { context, page, width, dark });
  }

  // Checks a page: nothing is wider than the window or its card, and axe reports no serious violation.
  async look(name) {
    const wide = await this.page.evaluate(() => document.scrollingElement.scrollWidth);
    assert.ok(wide <= this.width, `${name}: the page is ${wide} wide in a window of ${this.width}`);
    const beyond = await this.page.evaluate(() => [...document.querySelectorAll('.card')].flatMap((card) => {
      const edge = card.getBoundingClientRect().right + 1;
      const inside = [...card.querySelectorAll(':not(.scroll *, pre *, .notes *, .sr)')];
      return inside.filter((one) => one.getBoundingClientRect().right > edge).map((one) => one.outerHTML.slice(0, 200));
    }));
    assert.deepEqual(beyond, [], `${name}: something reaches beyond its card`);
    const sideways = await this.page.evaluate(() => [...document.querySelectorAll('.scroll[role=group]')].filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.ariaLabel));
    assert.deepEqual(sideways, [], `${name}: a table scrolls sideways`);
    await this.page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {}))));
    await this.shoot(name);
    if (!(await this.page.evaluate(() => 'axe' in window))) await this.page.evaluate(require('node:fs').readFileSync(AXE, 'utf8'));
    const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + node.failureSummary).join('\n')}`);
    assert.deepEqual(told, [], name);
    const html = await this.page.content();
    for (const secret of Person.secrets) assert.ok(!html.includes(secret), `${name}: a token stands in the page`);
  }

  // Opens the page of the operator with this token.
  async operate(root, token) {
    Person.secrets.add(token);
    await this.page.goto(root);
    await this.page.getByLabel('Token').fill(token);
    await this.page.keyboard.press('Enter');
    await this.page.getByRole('heading', { level: 1, name: 'Operations' }).waitFor();
  }

  async shoot(name) {
    if (!process.env.SCREENSHOTS) return;
    const file = `${name}-${this.width}-${this.dark ? 'dark' : 'light'}.png`;
    await this.page.screenshot({ path: path.join(process.env.SCREENSHOTS, file), fullPage: true });
  }
}

// Checks that hold at the end of every scene.
export function settle() {
  assert.deepEqual(Person.faults, []);
  for (const secret of Person.secrets) {
    const told = Person.addresses.filter((url) => url.includes(secret));
    assert.deepEqual(told, [], 'a URL contains a token');
  }
}
