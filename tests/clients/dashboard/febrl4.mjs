// Two parties and an analyst link known people; the analyst downloads what the page shows.

import assert from 'node:assert/strict';
import fs from 'node:fs';

import { Person, browser, settle } from './people.mjs';

const { root, project, token, parties, threshold, result } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const come = () => Person.come(chromium, { origins: [new URL(root).origin] });
for (const { file, secret } of parties) {
  Person.secrets.add(secret);
  const { page } = await come();
  await page.goto(`${root}#token=${secret}&project=${project}`);
  await page.setInputFiles('#file', file);
  await page.getByText('Checked: it can be sent.').waitFor();
  await page.getByRole('button', { name: 'Send the encodings' }).click();
  await page.getByRole('heading', { level: 1, name: 'Your upload' }).waitFor();
  await page.close();
}
Person.secrets.add(token);
const analyst = await come();
const { page } = analyst;
await page.goto(`${root}#token=${token}&project=${project}`);
await page.getByLabel('Threshold').fill(threshold);
await page.getByRole('button', { name: 'Start the run' }).click();
await page.getByRole('button', { name: 'Download JSON' }).waitFor();
const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download JSON' }).click()]);
fs.copyFileSync(await download.path(), result);
// The tiles and the rows of the first page are those of the file.
const { groups } = JSON.parse(fs.readFileSync(result, 'utf8'));
await page.getByText(`1 to 50 of ${groups.length.toLocaleString('en')}`).waitFor();
const rows = await page.getByRole('group', { name: 'Table of the result' }).getByRole('row').allInnerTexts();
assert.deepEqual(
  rows.slice(1).map((row) => row.split('\t').slice(1, 3)),
  groups.slice(0, 50).map((group) => [0, 1].map((dataset) => String(group.find(([of]) => of === dataset)[1]))),
);
await page.getByRole('img', { name: /^Pairs and groups by threshold/ }).waitFor();
await analyst.look('run-charts');
settle();
await chromium.close();
