// The operator: a dead job is retried, one is discarded, and all that are left are retried after their count was shown.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, token, dead, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
Person.secrets.add(token);
const operator = await Person.come(chromium, { origins: [new URL(root).origin], width, dark });
const { page } = operator;

await page.goto(root);
await page.getByLabel('Token').fill(token);
await page.keyboard.press('Enter');
await page.getByRole('heading', { level: 1, name: 'Operations' }).waitFor();

const rows = () => page.locator('#dead').getByRole('row', { name: /a test makes ingest panic/ }).count();
const until = async (count) => {
  for (let tries = 0; (await rows()) !== count; tries += 1) {
    assert.ok(tries < 600, `${await rows()} dead jobs, not ${count}`);
    await page.waitForTimeout(100);
  }
};
await until(dead);
await page.getByText(`${dead} dead jobs`, { exact: true }).waitFor();
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
