// A run fails. The operator reads why, and starts it again; so does the analyst.

import { Person, browser, settle } from './people.mjs';

const { ops, root, token, owner, project, run, width, dark } = JSON.parse(process.env.SCENE);
const chromium = await browser();
Person.secrets.add(owner);
const origins = [new URL(ops).origin, new URL(root).origin];
const come = () => Person.come(chromium, { origins, width, dark });
const operator = await come();
await operator.operate(ops, token);
const failed = (short) => operator.page.locator('#failed').getByRole('row').filter({ hasText: short });
await failed(run.slice(0, 8)).filter({ hasText: 'a test makes compare panic' }).filter({ hasText: '<b>bold</b>' }).waitFor();
await operator.look('operator-failed');
await operator.page.getByRole('button', { name: `Run again ${run.slice(0, 8)}` }).click();
await operator.page.getByRole('dialog', { name: 'Run it again?' }).getByRole('button', { name: 'Run again' }).click();
// It is listed no more once another run has its threshold; that one is listed as soon as it has failed.
await failed(run.slice(0, 8)).waitFor({ state: 'detached' });

const analyst = await come();
const { page } = analyst;
await page.goto(`${root}#token=${owner}&project=${project}`);
await page.getByText('2 of 2 runs').waitFor();
await page.getByRole('link', { name: 'failed 2' }).waitFor();
await page.goto(`${root}dashboard/run?project=${project}&run=${run}`);
await page.getByText('The run has failed.').waitFor();
await page.getByText('a test makes compare panic').waitFor();
await analyst.look('run-failed');
await page.getByRole('button', { name: 'Run again' }).click();
await page.waitForURL((url) => !url.href.includes(run));
await page.getByRole('heading', { level: 1, name: 'nightly' }).waitFor();
await page.getByText('The run has failed.').waitFor();
settle();
await chromium.close();
