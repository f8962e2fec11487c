// The whole workflow of an analyst and two data providers, clicked as people would.

import assert from 'node:assert/strict';
import fs from 'node:fs';

import { Person, browser, settle } from './people.mjs';

const { root, files, kind, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const origins = [new URL(root).origin];
const come = (more) => Person.come(chromium, { origins, width, dark, ...more });

// A visitor without scripts.
const reader = await come({ script: false });
await reader.page.goto(root);
await reader.page.getByRole('heading', { level: 1 }).waitFor();
assert.ok((await reader.page.getByRole('link', { name: 'API reference' }).count()) === 1);
await reader.page.getByRole('link', { name: 'Security', exact: false }).first().click();
await reader.page.getByRole('heading', { level: 1, name: 'Security' }).waitFor();

// The analyst creates a project. Its name and notes are hostile.
const analyst = await come();
const { page } = analyst;
const name = '<img src=x onerror=alert(1)> \u202Egnitset &amp; "quotes"';
await page.goto(`${root}docs/deployment`);
await analyst.look('guide');
await page.getByRole('link', { name: 'Home' }).click();
await analyst.look('home');
await page.getByRole('link', { name: 'Create a project' }).click();
await page.getByLabel('Name').fill(name);
await page.getByLabel('Notes').fill(`<script>alert(2)</script> ${'long notes '.repeat(9_000)}`);
await page.locator(`input[value=${kind}]`).check();
await page.locator('[name=schema]').fill('{"version": 9007199254740993123, "clkConfig": {"l": 1024}}');
await analyst.look('new');
await page.getByRole('button', { name: 'Create the project' }).press('Enter');
await page.getByRole('heading', { level: 1, name: '<img src=x' }).waitFor();
assert.equal(await page.locator('main img, main script').count(), 0, 'markup in a name became markup');
await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
const project = new URL(page.url()).searchParams.get('id');
const links = await page.locator('.handout input').evaluateAll((fields) => fields.map((field) => field.value));
assert.equal(links.length, 3);
links.forEach((link) => {
  assert.ok(link.startsWith(`${root}#token=`), link);
  Person.secrets.add(new URLSearchParams(new URL(link).hash.slice(1)).get('token'));
});
await page.getByText('0 of 2 uploaded').waitFor();
assert.match(await page.locator('time').first().getAttribute('title'), /UTC$/);
await analyst.look('project-new');

// A run that is posted before the data waits.
await page.getByLabel('Threshold').fill('0.85');
if (kind === 'groups') await page.getByLabel('Scores').check();
await page.getByRole('button', { name: 'Start the run' }).click();
await page.getByRole('heading', { level: 1, name: 'Run at 0.85' }).waitFor();
await page.getByText('waiting', { exact: true }).waitFor();
await analyst.look('run-waiting');

// The first party chooses wrong files, and then the right one.
const receipts = [];
for (const party of [0, 1]) {
  const provider = await come({ still: party === 1 });
  const { page: tab } = provider;
  await tab.goto(links[party]);
  await tab.getByRole('heading', { level: 1, name: 'Upload your encodings' }).waitFor();
  assert.equal(new URL(tab.url()).hash, '');
  if (party === 0) {
    await provider.look('upload');
    await tab.setInputFiles('#file', files.cut);
    await tab.getByText('The file ends in the middle').waitFor();
    await tab.setInputFiles('#file', files.blocked);
    await tab.getByText('The project does not use blocking').waitFor();
    await tab.setInputFiles('#file', files.table);
    await tab.getByText('This is a table of people').waitFor();
    await provider.look('upload-table');
    await tab.setInputFiles('#file', files.odd);
    await tab.getByText(/Record 1 has 64 bytes/).waitFor();
    await provider.look('upload-fault');
  }
  await tab.setInputFiles('#file', files.parties[party]);
  await tab.getByText('Checked: it can be sent.').waitFor();
  const findings = await tab.locator('#findings').innerText();
  assert.match(findings.replace(/\s+/g, ' '), /Records 400 Bits 1,024/);
  if (party === 0) await provider.look('upload-checked');
  if (party === 1) {
    // The connection breaks once while the encodings are sent.
    let broken = false;
    await provider.context.route('**/uploads/*', (route) => {
      if (broken) return route.continue();
      broken = true;
      return route.abort('connectionreset');
    });
  }
  await tab.getByRole('button', { name: 'Send the encodings' }).click();
  await tab.getByRole('heading', { level: 1, name: 'Your upload' }).waitFor();
  await tab.getByText('ready', { exact: true }).waitFor();
  const receipt = await tab.locator('.handout input').inputValue();
  Person.secrets.add(new URLSearchParams(new URL(receipt).hash.slice(1)).get('token'));
  if (party === 0) await provider.look('receipt');
  receipts.push(provider);
}

// The analyst's page has updated itself meanwhile.
await page.getByRole('button', { name: 'Download CSV', exact: true }).waitFor();
await page.getByText('completed', { exact: true }).first().waitFor();
await page.locator('#result table').first().waitFor();
await analyst.look('run-completed');
const save = async (tab, label) => {
  const [file] = await Promise.all([tab.waitForEvent('download'), tab.getByRole('button', { name: label, exact: true }).first().click()]);
  return { name: file.suggestedFilename(), content: fs.readFileSync(await file.path()) };
};
const download = async (tab, label) => (await save(tab, label)).content.toString();
const csv = (await download(page, 'Download CSV')).trimEnd().split('\r\n');
const json = JSON.parse(await download(page, 'Download JSON'));
const lines = (await download(page, 'Download NDJSON')).trimEnd().split('\n').map((line) => JSON.parse(line));
assert.deepEqual(lines, Object.values(json)[0]);
if (kind === 'groups') assert.deepEqual(csv.slice(1), json.groups.flatMap((group, at) => group.map(([dataset, record]) => `${at},${dataset},${record}`)));
if (kind === 'groups') {
  const scored = JSON.parse(await download(page, 'Download JSON with scores'));
  assert.deepEqual(scored.groups, json.groups);
  const pairs = (await download(page, 'Download CSV with scores')).trimEnd().split('\r\n').slice(1);
  assert.deepEqual(pairs.map((line) => line.slice(0, line.lastIndexOf(','))), scored.scores.flatMap((group, at) => group.map(([a, b]) => [at, a, b].join(','))));
  const shown = await page.locator('#result tbody tr').first().locator('td').allInnerTexts();
  assert.deepEqual(shown.slice(1, 3), [0, 1].map((dataset) => String(scored.groups[0].find(([of]) => of === dataset)[1])));
  assert.equal(Number(shown[3]), scored.scores[0][0][2]);
}
if (kind === 'similarity_scores') assert.equal(csv.length - 1, json.similarity_scores.length);
fs.writeFileSync(files.result, JSON.stringify(json));
const arrow = await save(page, 'Download Arrow');
assert.match(arrow.name, new RegExp(`^${kind}-[0-9a-f]{8}\\.arrows$`));
fs.writeFileSync(files.arrow, arrow.content);
if (kind === 'permutations') {
  const { page: tab } = receipts[0];
  await tab.getByRole('heading', { name: 'Results for you' }).waitFor();
  await tab.getByRole('button', { name: 'CSV', exact: true }).waitFor();
  assert.match(await download(tab, 'CSV'), /^row,new_row\r\n0,\d+\r\n/);
  await receipts[0].look('receipt-permutation');
} else {
  // Each page of the result has its own URL.
  await page.getByRole('link', { name: 'next', exact: true }).click();
  await page.getByText(/^51 to 100 of/).waitFor();
  assert.match(page.url(), /page=1/);
}

// A wrong token is rejected, and the page asks for one again.
const stranger = await come();
await stranger.page.goto(`${root}#token=${'0'.repeat(48)}&project=${project}`);
await stranger.page.getByText('The token has no access').waitFor();
await stranger.look('refused');

// A page in the background pauses its stream. A failing stream is shown, and reconnects.
await page.goto(`${root}dashboard/project?id=${project}`);
await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
await page.getByText('data is complete').waitFor();
const hide = (hidden) => page.evaluate((is) => {
  Object.defineProperty(document, 'hidden', { get: () => is, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}, hidden);
await hide(true);
await page.getByRole('status').filter({ hasText: 'Paused' }).waitFor();
await analyst.context.setOffline(true);
await hide(false);
await page.getByRole('status').filter({ hasText: 'Disconnected' }).waitFor();
await analyst.shoot('disconnected');
await analyst.context.setOffline(false);
await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();

// Advice before a run.
await page.getByRole('button', { name: 'Estimate first' }).click();
await page.getByText('All of them were made for this forecast').waitFor();
await page.getByRole('img', { name: /^Comparisons by similarity/ }).waitFor();
await analyst.look('project-forecast');

// More runs, sorted and filtered by the URL.
const secret = new URLSearchParams(new URL(links[2]).hash.slice(1)).get('token');
for (const threshold of [0.95, 0.9, 0.8, 1]) {
  await fetch(`${root}api/v1/projects/${project}/runs`, {
    method: 'POST',
    headers: { Authorization: secret, 'Content-Type': 'application/json' },
    body: JSON.stringify({ threshold, name: `at ${threshold}` }),
  });
}
await page.getByRole('link', { name: 'completed 5' }).waitFor();
await page.getByRole('link', { name: 'by threshold' }).click();
const first = page.getByRole('group', { name: 'Table of runs' }).getByRole('rowheader').first();
await first.filter({ hasText: /^at 0\.8$/ }).waitFor();
await analyst.look('project-runs');

// With the keyboard alone: skip to the content, and delete, which asks for confirmation.
await page.evaluate(() => document.activeElement?.blur());
await page.keyboard.press('Tab');
assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
const remove = page.getByRole('button', { name: 'Delete the project' });
await remove.focus();
await page.keyboard.press('Enter');
await page.getByRole('dialog', { name: 'Delete this project?' }).waitFor();
await analyst.look('confirm');
await page.keyboard.press('Escape');
// The focus is back where it was.
await page.waitForFunction(() => document.activeElement?.textContent.trim() === 'Delete the project');
await page.keyboard.press('Enter');
await page.keyboard.press('Tab');
await page.keyboard.press('Enter');
await page.getByRole('heading', { level: 1, name: 'Find the records' }).waitFor();
await receipts[1].page.getByText('The project or run has been deleted.').waitFor();

settle();
await chromium.close();
