// The operator: a dead job is retried, one is discarded, and all that are left are retried after their count was shown.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, token, dead, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const operator = await Person.come(chromium, { origins: [new URL(root).origin], width, dark });
const { page } = operator;

await operator.operate(root, token);

const rows = () => page.locator('#dead').getByRole('row', { name: /a test makes ingest panic/ }).count();
const until = async (count) => {
  for (let tries = 0; (await rows()) !== count; tries += 1) {
    assert.ok(tries < 600, `${await rows()} dead jobs, not ${count}`);
    await page.waitForTimeout(100);
  }
};
await until(dead);
await page.getByText(`${dead} dead jobs`, { exact: true }).waitFor();
// What failed comes before what merely was said about it; equal warnings are one.
const headings = await page.getByRole('heading', { level: 2 }).allInnerTexts();
assert.ok(headings.indexOf('Dead jobs') === 0 && headings.indexOf('Recent warnings') > 1, headings.join());
const lines = await page.getByRole('group', { name: 'Table of warnings' }).first().getByRole('row').allInnerTexts();
assert.equal(new Set(lines.map((line) => line.replace(/^[^\t]*\t/, ''))).size, lines.length);
await operator.look('operator-dead');

await page.getByRole('button', { name: /^Retry / }).first().click();
await until(dead - 1);

await page.getByRole('button', { name: /^Discard / }).first().click();
await page.getByRole('dialog', { name: 'Discard this job?' }).getByRole('button', { name: 'Discard' }).click();
await until(dead - 2);

// What acts on all of the filter says how many there are, and asks once.
await page.getByRole('button', { name: `Retry all ${dead - 2} dead jobs` }).click();
await page.getByRole('dialog', { name: `Retry ${dead - 2} dead jobs?` }).getByRole('button', { name: 'Retry' }).click();
await page.getByText('There are none. A job is dead').waitFor();
settle();
await chromium.close();
