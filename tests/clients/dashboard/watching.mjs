// Pages that stay open while runs come and go. Prints what each holds, as a line of JSON for each measurement.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, ops, pages, admin, warm_s: warm, seconds, every_s: every, replayed } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const origins = [root, ops].map((url) => new URL(url).origin);
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function open(url) {
  const { context, page } = await Person.come(chromium, { origins });
  const profiler = await context.newCDPSession(page);
  await page.goto(url);
  return { context, page, profiler };
}

// What a page holds once its garbage has been collected, and the number of the latest change.
async function held({ page, profiler }) {
  for (let time = 0; time < 3; time += 1) await profiler.send('HeapProfiler.collectGarbage');
  const { usedSize } = await profiler.send('Runtime.getHeapUsage');
  const { nodes, jsEventListeners } = await profiler.send('Memory.getDOMCounters');
  const changes = await page.evaluate(() => window.changes);
  return { heap: usedSize, nodes, listeners: jsEventListeners, changes };
}

// Counts how often the part of the page that changes is replaced.
const count = (page) => page.evaluate(() => {
  window.changes = 0;
  new MutationObserver((records) => { window.changes += records.length; }).observe(document.querySelector('#live'), { childList: true });
});

const watched = {};
for (const [name, { url, token }] of Object.entries(pages)) {
  Person.secrets.add(token);
  watched[name] = await open(url);
  await watched[name].page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
}
Person.secrets.add(admin);
watched.operator = await open(ops);
await watched.operator.page.getByLabel('Token').fill(admin);
await watched.operator.page.keyboard.press('Enter');
await watched.operator.page.getByRole('status').filter({ hasText: 'Live' }).waitFor();

// A stream that sends the same event over and over, ends, and is opened again, `limit` times.
let [limit, rounds] = [0, 0];
if (replayed) {
  const { url, token, project } = pages.project;
  const one = await fetch(`${root}dashboard/live/projects/${project}`, { headers: { Authorization: token } });
  let event = '';
  const reader = one.body.pipeThrough(new TextDecoderStream()).getReader();
  while (!event.includes('\n\n')) event += (await reader.read()).value;
  await reader.cancel();
  event = event.slice(0, event.indexOf('\n\n') + 2);
  assert.match(event, /^event: view$/m);
  const tab = await Person.come(chromium, { origins });
  const body = event.repeat(replayed);
  await tab.context.route('**/dashboard/live/**', async (route) => {
    while (rounds >= limit) await sleep(50);
    rounds += 1;
    await route.fulfill({ contentType: 'text/event-stream', body }).catch(() => {});
  });
  await tab.page.goto(url);
  await tab.page.locator('#live').waitFor();
  watched.replayed = { ...tab, profiler: await tab.context.newCDPSession(tab.page) };
}
for (const { page } of Object.values(watched)) await count(page);

const begun = performance.now();
const end = begun + seconds * 1000;
let next = begun + warm * 1000;
while (next <= end) {
  await sleep(Math.max(0, next - performance.now()));
  if (replayed) {
    // What the page holds is measured while it is idle.
    limit += 1;
    await watched.replayed.page.waitForFunction((changes) => window.changes >= changes, limit * replayed);
  }
  const found = { s: Math.round((performance.now() - begun) / 1000) };
  for (const [name, tab] of Object.entries(watched)) found[name] = await held(tab);
  console.log(JSON.stringify(found));
  next += every * 1000;
}
delete watched.replayed;
for (const { page } of Object.values(watched)) await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
settle();
// The route that waits for another round ends with the process.
await chromium.close();
process.exit();
