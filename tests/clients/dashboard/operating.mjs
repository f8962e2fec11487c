// The operator: a queue is paused and resumed, dead jobs are inspected, a project is deleted.

import assert from 'node:assert/strict';

import { Person, browser, settle } from './people.mjs';

const { root, token, project, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
const operator = await Person.come(chromium, { origins: [new URL(root).origin], width, dark });
const { page } = operator;

await page.goto(root);
await page.getByText('This page needs the admin token').waitFor();
await page.getByLabel('Token').fill('wrong-token-of-somebody');
await page.keyboard.press('Enter');
await page.getByText('The token has no access').waitFor();
await operator.look('operator-token');
await operator.operate(root, token);
await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
await page.getByText('There are none. A job is dead').waitFor();
await page.getByRole('row', { name: /^metadata ready on this machine/ }).waitFor();
await page.getByRole('row', { name: /\ball\b.*joined/ }).waitFor();
await operator.look('operator');

// Pausing asks for confirmation, and is shown; resuming does not ask.
await page.getByRole('button', { name: 'Pause compute' }).click();
await page.getByRole('dialog', { name: 'Pause the queue compute?' }).waitFor();
await page.getByRole('button', { name: 'Pause', exact: true }).click();
await page.getByRole('button', { name: 'Resume compute' }).waitFor();
await operator.shoot('operator-paused');
await page.getByRole('button', { name: 'Resume compute' }).click();
await page.getByRole('button', { name: 'Pause compute' }).waitFor();

// A project is deleted without its token; the dialog names what is deleted.
const remove = page.getByRole('button', { name: `Delete ${project.slice(0, 8)}` });
await remove.click();
const dialog = page.getByRole('dialog', { name: 'Delete this project?' });
await dialog.getByText('<b>bold</b>').waitFor();
await operator.look('operator-confirm');
await dialog.getByRole('button', { name: 'Go back' }).click();
await remove.click();
await dialog.getByRole('button', { name: 'Delete' }).click();
await page.getByText('There are no projects.').waitFor();

await page.getByText(`DELETE /admin/projects/${project}`).waitFor();

// A forgotten token is asked for again.
await page.getByRole('button', { name: 'Forget tokens' }).click();
await page.getByText('This page needs the admin token').waitFor();
assert.equal(await page.evaluate(() => sessionStorage.length), 0);
settle();
await chromium.close();
